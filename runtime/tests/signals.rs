//! SIGTERM trips the token. A process of its own, because signals are the whole process's.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

#[tokio::test]
async fn sigterm_trips_the_token() {
    let shutdown = torc_runtime::shutdown::on_signals().unwrap();
    assert!(!shutdown.triggered());
    kill_process(getpid(), Signal::TERM).unwrap();
    tokio::time::timeout(Duration::from_secs(30), shutdown.wait()).await.expect("the signal was not heard");
    assert!(shutdown.triggered());
}
