//! Parses the command, starts the role, maps the outcome to an exit code.

fn main() {}
