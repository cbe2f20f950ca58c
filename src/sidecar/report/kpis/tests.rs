use proptest::prelude::*;

use super::*;

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn nearest_rank(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() * percent).div_ceil(100) - 1]
}

#[test]
fn nothing_is_no_traffic_and_all_is_well() {
    let kpis = Window::default().kpis(at(5.0));
    assert_eq!(kpis, Kpis { uptime: 100.0, success_rate: 100.0, ..Kpis::default() });
}

#[test]
fn the_answer_has_the_names_of_the_contract() {
    let kpis = Kpis { business_metrics: [("activeUsers".to_owned(), Some(3.0))].into(), ..Kpis::default() };
    assert_eq!(
        serde_json::to_value(&kpis).unwrap(),
        serde_json::json!({
            "averageResponseTime": 0.0, "p95ResponseTime": 0.0, "p99ResponseTime": 0.0, "throughput": 0.0,
            "uptime": 0.0, "errorRate": 0.0, "successRate": 0.0, "serverErrorRate": 0.0,
            "cpuUsage": null, "memoryUsage": null, "diskUsage": null, "businessMetrics": { "activeUsers": 3.0 },
        })
    );
}

#[test]
fn rates_are_per_cent_of_the_requests_in_the_window() {
    let mut window = Window::default();
    for (second, status) in [(1.0, 200), (2.0, 301), (3.0, 404), (4.0, 503)] {
        window.record(at(second), 10.0, status);
    }
    let kpis = window.kpis(at(8.0));
    assert_eq!((kpis.error_rate, kpis.success_rate, kpis.server_error_rate), (50.0, 50.0, 25.0));
    assert_eq!((kpis.throughput, kpis.average_response_time), (0.5, 10.0));
}

#[test]
fn after_five_minutes_a_burst_of_errors_is_forgotten() {
    let mut window = Window::default();
    for _ in 0..300 {
        window.record(at(5.0), 1.0, 500);
    }
    for second in 10..320 {
        window.record(at(second.into()), 1.0, 200);
    }
    let kpis = window.kpis(at(299.0));
    assert!(kpis.error_rate > 45.0 && kpis.error_rate < 50.0, "{kpis:?}");
    let kpis = window.kpis(at(319.0));
    assert_eq!(kpis.error_rate, 0.0);
    assert!((kpis.throughput - 1.0).abs() < 0.01, "{kpis:?}");
    let later = window.kpis(at(1000.0));
    assert_eq!((later.throughput, window.slots.len()), (0.0, 0));
}

#[test]
fn throughput_is_of_the_time_there_was() {
    let mut window = Window::default();
    for tenth in 0..200 {
        window.record(at(f64::from(tenth) / 10.0), 1.0, 200);
    }
    assert_eq!(window.kpis(at(20.0)).throughput, 10.0);
}

#[test]
fn uptime_is_the_part_of_the_time_that_the_application_answered() {
    let mut window = Window::default();
    assert_eq!(window.kpis(at(0.0)).uptime, 100.0);
    for second in [5.0, 10.0, 15.0] {
        window.record_liveness(at(second), true, at(5.0));
    }
    for second in [16.0, 17.0, 18.0, 19.0, 20.0] {
        window.record_liveness(at(second), false, at(1.0));
    }
    assert_eq!(window.kpis(at(20.0)).uptime, 75.0);
    assert_eq!(window.kpis(at(400.0)).uptime, 100.0);
}

#[test]
fn an_idle_window_holds_no_histogram_and_a_busy_one_a_bounded_number() {
    let mut window = Window::default();
    window.record_liveness(at(1.0), true, at(5.0));
    assert!(window.slots.iter().all(|slot| slot.times.is_none()));
    for second in 0..10_000 {
        window.record(at(second.into()), 60_000.0, 200);
    }
    assert_eq!(window.slots.len() as u64, SLOTS);
    let counters: usize =
        window.slots.iter().filter_map(|slot| slot.times.as_ref()).map(Histogram::distinct_values).sum();
    assert!(counters * size_of::<u32>() < 1 << 20, "{counters} counters");
}

#[test]
fn times_that_are_none_harm_nothing() {
    let mut window = Window::default();
    for milliseconds in [0.0, -1.0, f64::NAN, 1e300] {
        window.record(at(1.0), milliseconds, 200);
    }
    assert_eq!(window.kpis(at(2.0)).throughput, 2.0);
}

#[test]
fn requests_of_many_threads_are_all_counted() {
    let collector = Collector::default();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10_000).for_each(|_| collector.record(1.0, 200)));
        }
    });
    let slots = &collector.window().slots;
    assert_eq!(slots.iter().map(|slot| slot.requests).sum::<u64>(), 80_000);
}

proptest! {
    #[test]
    fn percentiles_err_by_one_per_cent_at_most(
        mut times in prop::collection::vec(0.01f64..600_000.0, 1..400),
        scale in prop::sample::select(vec![1.0, 0.01, 0.0001]),
    ) {
        let mut window = Window::default();
        for (index, time) in times.iter_mut().enumerate() {
            *time = (*time * scale).max(0.01);
            window.record(at(index as f64 / 2.0), *time, 200);
        }
        let kpis = window.kpis(at(201.0));
        for (told, percent) in [(kpis.p95_response_time, 95), (kpis.p99_response_time, 99)] {
            let exact = nearest_rank(&mut times, percent);
            prop_assert!((told - exact).abs() <= exact * 0.01, "p{percent}: {told}, not {exact}");
        }
    }
}
