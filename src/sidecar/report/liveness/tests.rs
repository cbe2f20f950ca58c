use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn application(port: u16, health_path: Option<&str>) -> Application {
    Application { port, health_path: health_path.map(String::from), ..Application::default() }
}

async fn until(liveness: &Liveness, alive: bool) -> Arc<State> {
    for _ in 0..500 {
        let state = liveness.state();
        if state.error.is_none() == alive {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", liveness.state());
}

#[tokio::test]
async fn an_application_is_alive_as_soon_as_it_takes_connections_and_dead_when_it_stops() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let liveness = Arc::new(Liveness::new(&application(port, None)));
    let looks = Arc::new(Mutex::new(Vec::new()));
    let looking = tokio::spawn({
        let (liveness, looks) = (liveness.clone(), looks.clone());
        async move { liveness.run(|alive, stands_for| looks.lock().unwrap().push((alive, stands_for))).await }
    });
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(!liveness.state().started);

    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let started = Instant::now();
    until(&liveness, true).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());

    drop(listener);
    let stopped = Instant::now();
    let state = until_error(&liveness).await;
    assert!(stopped.elapsed() < Duration::from_secs(7));
    let error = state.error.as_deref().unwrap();
    assert!(
        error.starts_with(&format!("the application does not take connections on port {port}")),
        "{error}"
    );
    looking.abort();
    let looks = looks.lock().unwrap();
    let alive: Vec<bool> = looks.iter().map(|(alive, _)| *alive).collect();
    assert!(
        alive.contains(&true) && alive.first() == Some(&false) && alive.last() == Some(&false),
        "{alive:?}"
    );
}

async fn until_error(liveness: &Liveness) -> Arc<State> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while liveness.state().error.is_none() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    liveness.state()
}

/// Answers `GET /live` with a status, or takes connections and stays silent.
async fn serve(status: &'static str, hangs: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if hangs.load(Ordering::Relaxed) {
                kept.push(stream);
                continue;
            }
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            assert!(head[..read].starts_with(b"GET /live HTTP/1.1\r\n"));
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn an_application_that_takes_connections_and_never_answers_is_found_out() {
    let hangs = Arc::new(AtomicBool::new(false));
    let port = serve("204 No Content", hangs.clone()).await;
    let liveness = Liveness::new(&application(port, Some("/live")));
    assert_eq!(liveness.look().await, Ok(()));
    hangs.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let error = liveness.look().await.unwrap_err();
    assert_eq!(
        error,
        format!("the application did not answer GET http://127.0.0.1:{port}/live: no answer within 2 s")
    );
    assert!(started.elapsed() < Duration::from_secs(3));
    hangs.store(false, Ordering::Relaxed);
    assert_eq!(liveness.look().await, Ok(()));
}

#[tokio::test]
async fn an_answer_is_read_as_the_kubelet_reads_it() {
    for (status, alive) in
        [("200 OK", true), ("302 Found", true), ("404 Not Found", false), ("500 Oh", false)]
    {
        let port = serve(status, Arc::default()).await;
        let look = Liveness::new(&application(port, Some("live"))).look().await;
        assert_eq!(look.is_ok(), alive, "{status}: {look:?}");
    }
}

#[test]
fn a_look_says_when_the_next_one_is() {
    let liveness = Liveness::new(&application(1, None));
    let dead = || Err("dead".to_owned());
    assert_eq!(liveness.note(dead()), STARTING);
    let since = liveness.state().since;
    assert_eq!(liveness.note(Ok(())), ALIVE);
    let answered = liveness.state();
    assert!(answered.since >= since && answered.started);
    assert_eq!(liveness.note(Ok(())), ALIVE);
    assert_eq!(liveness.state().since, answered.since);
    assert_eq!(liveness.note(dead()), FAILING);
    assert_eq!(liveness.state().error.as_deref(), Some("dead"));
}
