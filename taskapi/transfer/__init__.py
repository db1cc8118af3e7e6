"""All tasks of somebody, out to a file and in from one."""
