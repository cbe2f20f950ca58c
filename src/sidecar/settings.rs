//! Reads the settings and says everything that is wrong with them at once.

use crate::contract::settings::{Settings, VERSION};

/// Read a document. The error names each field that is wrong, and what to write there.
pub fn read(document: &str) -> Result<Settings, Vec<String>> {
    let mut document = serde_json::Deserializer::from_str(document);
    let settings: Settings = serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let path = error.path().to_string();
        vec![if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) }]
    })?;
    let wrong = mistakes(&settings);
    if wrong.is_empty() { Ok(settings) } else { Err(wrong) }
}

/// Everything that is wrong with settings whose form is right.
fn mistakes(settings: &Settings) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut hold = |holds: bool, mistake: String| {
        if !holds {
            wrong.push(mistake);
        }
    };
    hold(
        settings.version == VERSION,
        format!("version {} is not known to this sidecar, which reads {VERSION}", settings.version),
    );
    hold(!settings.service.is_empty(), "service: name the service".into());
    let ports = [
        ("port", Some(settings.port)),
        ("contractPort", Some(settings.contract_port)),
        ("application.port", Some(settings.application.port)),
        ("application.metricsPort", settings.application.metrics_port),
    ];
    for (field, port) in ports {
        hold(port != Some(0), format!("{field}: choose a port from 1 to 65535"));
    }
    let own = [settings.port, settings.contract_port];
    hold(own[0] != own[1], format!("port and contractPort are both {}", own[0]));
    hold(
        !own.contains(&settings.application.port),
        format!(
            "application.port {} is the sidecar's own: let the application listen on another",
            own[usize::from(own[1] == settings.application.port)]
        ),
    );
    let rate = settings.logs.sample_rate;
    hold((0.0..=1.0).contains(&rate), format!("logs.sampleRate {rate} is not between 0 and 1"));
    let limits = &settings.limits;
    let times = [
        ("limits.headSeconds", limits.head_seconds),
        ("limits.readSeconds", limits.read_seconds),
        ("limits.writeSeconds", limits.write_seconds),
        ("limits.idleSeconds", limits.idle_seconds),
        ("application.connectSeconds", settings.application.connect_seconds),
        ("application.keepAliveSeconds", settings.application.keep_alive_seconds),
        ("breaker.openSeconds", settings.breaker.open_seconds),
    ];
    // H01: a time-out is at least a second.
    for (field, seconds) in times {
        hold((1.0..=86_400.0).contains(&seconds), format!("{field} {seconds} is not between 1 and 86400"));
    }
    let waits = [
        ("drain.propagationSeconds", settings.drain.propagation_seconds),
        ("drain.requestsSeconds", settings.drain.requests_seconds),
    ];
    for (field, seconds) in waits {
        hold((0.0..=3600.0).contains(&seconds), format!("{field} {seconds} is not between 0 and 3600"));
    }
    hold(
        (8 << 10..=16 << 20).contains(&limits.head_bytes),
        format!("limits.headBytes {} is not between 8192 and 16777216", limits.head_bytes),
    );
    let bounds = [
        ("limits.connections", limits.connections, 1),
        ("application.connections", settings.application.connections, 1),
        ("application.tunnels", settings.application.tunnels, 0),
    ];
    for (field, said, least) in bounds {
        hold((least..=1 << 20).contains(&said), format!("{field} {said} is not between {least} and 1048576"));
    }
    if let Some(limit) = &settings.rate_limit {
        hold(limit.requests_per_minute > 0, "rateLimit.requestsPerMinute: allow at least one".into());
        hold(limit.burst != Some(0), "rateLimit.burst: allow at least one".into());
    }
    if let Some(auth) = &settings.auth {
        hold(auth.keys_folder.is_some() || auth.jwks.is_some(), "auth: set keysFolder, jwks or both".into());
    }
    if let Err(mistake) = super::route::Routes::new(&settings.routes) {
        wrong.push(format!("routes: {mistake}"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_whole_document() {
        let settings = read(r#"{"service": "users"}"#).unwrap();
        assert_eq!((settings.port, settings.contract_port, settings.application.port), (15080, 9090, 8080));
        assert_eq!(settings.service_version, "1.0.0");
        // H02.
        let limits = settings.limits;
        assert_eq!(
            (limits.head_seconds, limits.read_seconds, limits.write_seconds, limits.idle_seconds),
            (10.0, 30.0, 30.0, 60.0)
        );
        assert_eq!(limits.head_bytes, 64 << 10);
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let settings = read(r#"{"service": "users", "routes": ["/a/{id}"], "compression": true}"#).unwrap();
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(read(&text).unwrap(), settings);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mistakes = read(
            r#"{"service": "", "version": 7, "port": 9090, "logs": {"sampleRate": 2},
                "limits": {"idleSeconds": 0.5}, "routes": ["users"], "auth": {}}"#,
        )
        .unwrap_err();
        for field in [
            "version 7",
            "service:",
            "port and contractPort",
            "logs.sampleRate",
            "limits.idleSeconds",
            "routes:",
            "auth:",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.contains(field)), "{field}: {mistakes:?}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        for document in
            [r#"{"service": "a", "colour": "blue"}"#, r#"{"service": "a", "logs": {"colour": 1}}"#]
        {
            let mistakes = read(document).unwrap_err();
            assert!(mistakes[0].contains("colour"), "{mistakes:?}");
        }
    }
}
