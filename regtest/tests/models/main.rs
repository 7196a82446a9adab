//! Models of the protocol, tried in all states.

mod models;
