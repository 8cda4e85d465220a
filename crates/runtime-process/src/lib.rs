//! Services as operating system processes, through the minder.
