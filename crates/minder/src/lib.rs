//! The tiny parent of every service: fork, exec, reap, move output, keep descriptors.
