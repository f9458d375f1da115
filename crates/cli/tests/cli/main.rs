//! The binary from outside: what a user types, sees and finds on disk.

mod bad_input;
mod bench;
mod help;
mod mil;
mod place;
mod run;
mod tools;
