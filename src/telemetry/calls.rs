//! The Kubernetes client that counts its calls.
//!
//! One call is what a caller sees, the client's retries included. A call that its caller gave up counts as `error`.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;
use http::{Method, Request, Response, header::CONTENT_TYPE};
use kube::client::ClientBuilder;
use tower::{Layer, Service};

use super::metrics::Metrics;

/// A client whose calls are counted in `metrics`.
pub fn client(config: kube::Config, metrics: Arc<Metrics>) -> Result<kube::Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&CallsLayer(metrics)).build())
}

/// Wraps an HTTP client so that its calls are counted.
#[derive(Clone)]
pub struct CallsLayer(pub Arc<Metrics>);

impl<S> Layer<S> for CallsLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls { inner, metrics: self.0.clone() }
    }
}

/// See [`CallsLayer`].
#[derive(Clone)]
pub struct Calls<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, A, B> Service<Request<A>> for Calls<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let uri = request.uri();
        let (verb, kind) = classify(
            request.method(),
            uri.path(),
            uri.query().unwrap_or_default(),
            content_type.unwrap_or_default(),
        );
        let mut call =
            Call { metrics: self.metrics.clone(), verb, kind, started: Instant::now(), status: None };
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            call.answer(response.status());
            Ok(response)
        })
    }
}

/// Counted when dropped, so that a call given up half-way is counted too.
struct Call {
    metrics: Arc<Metrics>,
    verb: &'static str,
    kind: String,
    started: Instant,
    status: Option<http::StatusCode>,
}

impl Call {
    /// A method, for an assignment would capture the field alone and leave the call behind.
    fn answer(&mut self, status: http::StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.status.as_ref().map_or("error", http::StatusCode::as_str);
        self.metrics.record_kube_request(self.verb, &self.kind, code, self.started.elapsed());
    }
}

/// The kind of a path that names no resource: discovery, version, health.
const OTHER: &str = "other";

/// Kubernetes' verb, and the resource in the plural with its subresource. Never a name of an object: the labels
/// must stay few.
pub fn classify(method: &Method, path: &str, query: &str, content_type: &str) -> (&'static str, String) {
    let target = locate(path);
    let named = target.as_ref().is_some_and(|target| target.named);
    let verb = match *method {
        Method::GET if watches(query) => "watch",
        Method::GET if named || target.is_none() => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH if content_type.starts_with("application/apply-patch") => "apply",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => OTHER,
    };
    let kind = match target {
        Some(Target { resource, subresource: Some(subresource), .. }) => format!("{resource}/{subresource}"),
        Some(Target { resource, .. }) => resource.to_owned(),
        None => OTHER.to_owned(),
    };
    (verb, kind)
}

fn watches(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

struct Target<'a> {
    resource: &'a str,
    subresource: Option<&'a str>,
    named: bool,
}

/// Reads `/api/v1/...` and `/apis/GROUP/VERSION/...`, then `[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE]]`.
fn locate(path: &str) -> Option<Target<'_>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", _version, rest @ ..] | ["apis", _, _version, rest @ ..] => rest,
        _ => return None,
    };
    let target = |resource, subresource, named| Some(Target { resource, subresource, named });
    match rest {
        [] => None,
        ["namespaces", _, subresource @ ("status" | "finalize")] => {
            target("namespaces", Some(*subresource), true)
        }
        ["namespaces", _, resource, name_on @ ..] | [resource, name_on @ ..] => {
            target(resource, name_on.get(1).copied(), !name_on.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use tower::{ServiceExt, service_fn};

    use super::*;

    #[test]
    fn every_call_has_a_verb_and_a_kind_without_names() {
        const APPLY: &str = "application/apply-patch+yaml";
        const MERGE: &str = "application/merge-patch+json";
        const VBS: &str = "/apis/platform.visiobook.com/v1alpha1";
        let table = [
            ("GET", "/api/v1/namespaces/shop/pods/cart-1", "", "", "get", "pods"),
            ("GET", "/api/v1/namespaces/shop/pods", "labelSelector=a%3Db", "", "list", "pods"),
            ("GET", "/api/v1/pods", "limit=500", "", "list", "pods"),
            ("GET", "/api/v1/pods", "resourceVersion=5&watch=true", "", "watch", "pods"),
            ("GET", "/apis/apps/v1/deployments", "watch=1&timeoutSeconds=290", "", "watch", "deployments"),
            ("GET", "/apis/apps/v1/deployments", "&watch=false", "", "list", "deployments"),
            ("GET", "/api/v1/namespaces", "", "", "list", "namespaces"),
            ("GET", "/api/v1/namespaces/shop", "", "", "get", "namespaces"),
            ("PUT", "/api/v1/namespaces/shop/status", "", "", "update", "namespaces/status"),
            ("PUT", "/api/v1/namespaces/shop/finalize", "", "", "update", "namespaces/finalize"),
            ("POST", "/apis/apps/v1/namespaces/shop/deployments", "", "", "create", "deployments"),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/x/leases/l", "", "", "update", "leases"),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/shop/deployments/cart-blue",
                "",
                APPLY,
                "apply",
                "deployments",
            ),
            ("PATCH", "/api/v1/namespaces/shop/services/cart", "", MERGE, "patch", "services"),
            (
                "PATCH",
                "{VBS}/namespaces/shop/visiobookservices/cart/status",
                "",
                APPLY,
                "apply",
                "visiobookservices/status",
            ),
            (
                "PUT",
                "{VBS}/namespaces/shop/visiobookservices/cart/scale",
                "",
                "",
                "update",
                "visiobookservices/scale",
            ),
            ("GET", "{VBS}/visiobookenvironments/production", "", "", "get", "visiobookenvironments"),
            ("DELETE", "/api/v1/namespaces/shop/configmaps/cart-1", "", "", "delete", "configmaps"),
            ("DELETE", "/api/v1/namespaces/shop/configmaps", "", "", "deletecollection", "configmaps"),
            ("POST", "/api/v1/namespaces/shop/pods/cart-1/eviction", "", "", "create", "pods/eviction"),
            ("GET", "/api/v1/namespaces/shop/services/cart/proxy/a/b", "", "", "get", "services/proxy"),
            ("GET", "/apis", "", "", "get", "other"),
            ("GET", "/apis/apps/v1", "", "", "get", "other"),
            ("GET", "/api/v1", "", "", "get", "other"),
            ("GET", "/version", "", "", "get", "other"),
            ("GET", "/", "", "", "get", "other"),
            ("HEAD", "/readyz", "", "", "other", "other"),
        ];
        for (method, path, query, content_type, verb, kind) in table {
            let path = path.replace("{VBS}", VBS);
            let method = method.parse().unwrap();
            assert_eq!(
                classify(&method, &path, query, content_type),
                (verb, kind.to_owned()),
                "{method} {path}"
            );
        }
    }

    fn request() -> Request<()> {
        Request::get("/api/v1/pods").body(()).unwrap()
    }

    fn counted(metrics: &Metrics, code: &str) -> bool {
        let line = format!(r#"visiobook_kube_requests_total{{code="{code}",kind="pods",verb="list"}} 1"#);
        metrics.encode().unwrap().lines().any(|l| l == line)
    }

    #[tokio::test]
    async fn an_answer_is_counted_under_its_status() {
        let metrics = Arc::new(Metrics::new(1).unwrap());
        let inner = service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::builder().status(409).body(()).unwrap())
        });
        CallsLayer(metrics.clone()).layer(inner).oneshot(request()).await.unwrap();
        assert!(counted(&metrics, "409"));
    }

    #[tokio::test]
    async fn a_failure_is_counted_as_error() {
        let metrics = Arc::new(Metrics::new(1).unwrap());
        let inner = service_fn(async |_: Request<()>| Err::<Response<()>, _>("refused"));
        CallsLayer(metrics.clone()).layer(inner).oneshot(request()).await.unwrap_err();
        assert!(counted(&metrics, "error"));
    }

    #[tokio::test]
    async fn a_call_given_up_is_counted_as_error() {
        let metrics = Arc::new(Metrics::new(1).unwrap());
        let inner = service_fn(|_: Request<()>| pending::<Result<Response<()>, Infallible>>());
        drop(CallsLayer(metrics.clone()).layer(inner).call(request()));
        assert!(counted(&metrics, "error"));
    }
}
