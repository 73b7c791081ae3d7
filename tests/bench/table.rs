//! Rows: a figure with its spread and its goal, for people and for programs.

/// One figure of the bench.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) value: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) unit: &'static str,
    pub(crate) goal: &'static str,
}

impl Row {
    /// The median of what the rounds gave.
    pub(crate) fn of(id: &'static str, mut rounds: Vec<f64>, unit: &'static str, goal: &'static str) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |index: usize| rounds.get(index).copied().unwrap_or(f64::NAN);
        Self { id, value: at(rounds.len() / 2), min: at(0), max: at(rounds.len().saturating_sub(1)), unit, goal }
    }

    fn holds(&self) -> bool {
        let number = |text: &str| text.trim().parse::<f64>().unwrap_or(f64::NAN);
        match (self.goal.strip_prefix(">="), self.goal.strip_prefix("<=")) {
            (Some(least), _) => self.value >= number(least),
            (_, Some(most)) => self.value <= number(most),
            _ => true,
        }
    }
}

/// For people.
pub(crate) fn show(rows: &[Row]) -> String {
    let mut text = format!("{:<34} {:>8} {:>8} {:>8}  {:<6} {:<8}\n", "row", "median", "min", "max", "unit", "goal");
    for row in rows {
        let verdict = if row.holds() { "ok" } else { "SHORT" };
        let line = format!(
            "{:<34} {:>8.3} {:>8.3} {:>8.3}  {:<6} {:<8} {verdict}\n",
            row.id, row.value, row.min, row.max, row.unit, row.goal
        );
        text.push_str(&line);
    }
    text
}

/// For programs.
pub(crate) fn json(rows: &[Row]) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(rows)? + "\n")
}
