//! Placeholder while the story is written.
fn main() {}
