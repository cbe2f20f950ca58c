//! Dashboards of Grafana.

use serde_json::{Value, json};

/// Label by which Grafana's sidecar finds dashboards (E70).
pub const LABEL: &str = "grafana_dashboard";

/// Width of a dashboard, of a panel, and the height of one.
const WIDTH: usize = 24;
const PANEL_WIDTH: usize = 12;
const PANEL_HEIGHT: usize = 8;

/// A panel.
pub struct Panel {
    title: &'static str,
    unit: &'static str,
    is_graph: bool,
    queries: Vec<(String, &'static str)>,
    most: Option<f64>,
}

impl Panel {
    /// Curves over time. A query comes with the legend of its series.
    pub fn graph(
        title: &'static str,
        unit: &'static str,
        queries: impl IntoIterator<Item = (String, &'static str)>,
    ) -> Panel {
        Panel { title, unit, is_graph: true, queries: queries.into_iter().collect(), most: None }
    }

    /// One number.
    pub fn number(title: &'static str, unit: &'static str, query: String) -> Panel {
        Panel { title, unit, is_graph: false, queries: vec![(query, "")], most: None }
    }

    /// The axis ends here.
    pub fn up_to(self, most: f64) -> Panel {
        Panel { most: Some(most), ..self }
    }

    fn render(self, index: usize) -> Value {
        let columns = WIDTH / PANEL_WIDTH;
        let (x, y) = (index % columns * PANEL_WIDTH, index / columns * PANEL_HEIGHT);
        let targets: Vec<Value> = ('A'..)
            .zip(self.queries)
            .map(|(letter, (expr, legend))| {
                json!({ "refId": letter.to_string(), "expr": expr, "legendFormat": legend })
            })
            .collect();
        let mut defaults = json!({ "unit": self.unit, "min": 0 });
        if let Some(most) = self.most {
            defaults["max"] = most.into();
        }
        json!({
            "id": index + 1,
            "title": self.title,
            "type": if self.is_graph { "timeseries" } else { "stat" },
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "gridPos": { "x": x, "y": y, "w": PANEL_WIDTH, "h": PANEL_HEIGHT },
            "fieldConfig": { "defaults": defaults, "overrides": [] },
            "targets": targets,
        })
    }
}

/// A dashboard as Grafana reads it. The person who looks chooses the data source.
pub fn dashboard(uid: &str, title: &str, panels: Vec<Panel>) -> Value {
    let panels: Vec<Value> =
        panels.into_iter().enumerate().map(|(index, panel)| panel.render(index)).collect();
    json!({
        "uid": uid,
        "title": title,
        "tags": ["visiobook"],
        "schemaVersion": 39,
        "editable": false,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [{ "name": "datasource", "type": "datasource", "query": "prometheus" }] },
        "panels": panels,
    })
}
