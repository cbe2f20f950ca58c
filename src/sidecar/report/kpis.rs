//! KPIs.

/// KPIs.
#[derive(Default)]
pub struct Kpis;

impl Kpis {
    /// A request took so long and ended so.
    pub fn record(&self, _milliseconds: f64, _status: u16) {}
}
