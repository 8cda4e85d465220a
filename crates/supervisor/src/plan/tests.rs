//! Scripts in, actions out; see [`world`] for the language.

mod convergence;
mod life;
mod needs;
mod updates;
mod world;
