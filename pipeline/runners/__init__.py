"""What executes the stages: the Beam graph, and the options of each runner."""
