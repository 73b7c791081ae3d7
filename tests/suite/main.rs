//! One module per promise. Test names begin with the acceptance case that they show.

mod api;
mod audit;
mod cache;
mod canary;
mod crash;
mod listener;
mod permissions;
mod process;
mod protocol;
mod resources;
mod store;
mod upgrade;
