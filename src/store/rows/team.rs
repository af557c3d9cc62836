//! (placeholder until the team work lands)
