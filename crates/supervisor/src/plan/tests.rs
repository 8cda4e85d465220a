//! Scripts in, actions out; see [`world`] for the language.

mod convergence;
mod life;
mod needs;
mod renewals;
mod restarts;
mod updates;
mod world;
