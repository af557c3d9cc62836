//! How figures are printed.

/// Seconds measured in several rounds.
pub struct Spread(Vec<f64>);

impl Spread {
    pub fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        Self(rounds)
    }

    /// `min/median/max` in milliseconds.
    pub fn in_ms(&self) -> String {
        let at = |index: usize| self.0.get(index).copied().unwrap_or(f64::NAN) * 1e3;
        if self.0.len() < 2 {
            return format!("{:.3}", at(0));
        }
        format!("{:.3}/{:.3}/{:.3}", at(0), at(self.0.len() / 2), at(self.0.len() - 1))
    }
}

/// The head of the table.
pub fn title() -> String {
    format!(
        "{:<52} {:>8}  {:>26}  {:>26}\n{:<52} {:>8}  {:>26}  {:>26}",
        "work", "messages", "wall ms", "server CPU ms", "", "", "min/median/max", "min/median/max"
    )
}

/// One figure.
pub fn row(work: &str, messages: usize, wall: &Spread, cpu: &Spread) {
    println!("{work:<52} {messages:>8}  {:>26}  {:>26}", wall.in_ms(), cpu.in_ms());
}
