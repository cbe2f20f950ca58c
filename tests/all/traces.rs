//! Traces reach a collector: the real program, and what it sends as OTLP over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

/// Killed when it is dropped.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn spans_reach_a_collector_with_the_name_of_the_service() {
    let collector = TcpListener::bind("127.0.0.1:0").expect("port");
    let endpoint = format!("http://{}", collector.local_addr().expect("address"));
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for connection in collector.incoming() {
            let sender = sender.clone();
            thread::spawn(move || collect(connection.expect("connection"), &sender));
        }
    });

    // Nobody listens there: the call that fails is the span.
    let files = tempfile::tempdir().expect("folder");
    let kubeconfig = files.path().join("kubeconfig");
    let nowhere = "{apiVersion: v1, kind: Config, current-context: a, users: [], \
        contexts: [{name: a, context: {cluster: a, user: ''}}], \
        clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]}";
    std::fs::write(&kubeconfig, nowhere).expect("kubeconfig");
    let operator = Command::new(env!("CARGO_BIN_EXE_visiobook"))
        .args(["operator", "--admin-address", "127.0.0.1:0", "--log", "debug", "--otlp-endpoint", &endpoint])
        .env("KUBECONFIG", &kubeconfig)
        // Milliseconds between two exports.
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the operator");
    let _operator = Operator(operator);

    let (path, body) = received.recv_timeout(Duration::from_secs(30)).expect("an export");
    assert_eq!(path, "/v1/traces");
    let export = ExportTraceServiceRequest::decode(body.as_slice()).expect("protobuf");
    let resource = &export.resource_spans[0];
    let service = resource
        .resource
        .iter()
        .flat_map(|resource| &resource.attributes)
        .find(|attribute| attribute.key == "service.name")
        .and_then(|attribute| attribute.value.clone()?.value);
    assert_eq!(service, Some(Value::StringValue("visiobook-operator".into())));
    let names: Vec<&str> =
        resource.scope_spans.iter().flat_map(|scope| &scope.spans).map(|span| span.name.as_str()).collect();
    assert!(names.contains(&"get"), "its own pod is read first: {names:?}");
}

/// Take exports from one connection, as a collector does.
fn collect(connection: TcpStream, sender: &mpsc::Sender<(String, Vec<u8>)>) -> Option<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_ascii_lowercase());
        }
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
        assert!(lines.contains(&"content-type: application/x-protobuf".to_string()), "{lines:?}");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let path = lines[0].split(' ').nth(1)?.to_string();
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
        sender.send((path, body)).ok()?;
    }
}
