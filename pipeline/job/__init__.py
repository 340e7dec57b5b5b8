"""The config of a job, and the resolved job that is sent to workers."""
