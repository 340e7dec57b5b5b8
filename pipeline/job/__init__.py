"""The config of a job, and the resolved job that workers get."""
