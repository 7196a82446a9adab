//! Stopping: SIGTERM and SIGINT become one request that every task of the process can see and wait for.
//!
//! Promise: a process under [`run`] has ended five seconds after the request, whether its work listened or not.
//! What must survive is on disk before it is visible, so an end without warning loses nothing either.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The time that work has to end by itself once a stop is requested.
pub const GRACE: Duration = Duration::from_millis(4_200);

/// The time that threads in the middle of a blocking call have after that.
const THREADS_GRACE: Duration = Duration::from_millis(400);

/// The request to stop, shared by all that must see it. It is made once and never taken back.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: Arc<watch::Sender<bool>>,
}

/// The work went on after its grace, and was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("work went on for {} ms after the request to stop, and was cut off", grace.as_millis())]
pub struct Overran {
    /// The time it had.
    pub grace: Duration,
}

/// Why a process did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The runtime or the signal handlers could not be set up.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// It did not stop in time.
    #[error(transparent)]
    Overran(#[from] Overran),
}

impl Shutdown {
    /// A request that only [`trigger`](Self::trigger) makes: for tests, and for parts run inside another process.
    pub fn manual() -> Self {
        Self { requested: Arc::new(watch::Sender::new(false)) }
    }

    /// A request that SIGTERM and SIGINT make. From here on neither signal ends the process by itself.
    /// Must be called inside a tokio runtime.
    pub fn install() -> io::Result<Self> {
        let shutdown = Self::manual();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let signalled = shutdown.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            signalled.trigger();
            tracing::info!(signal = name, "stopping");
        });
        Ok(shutdown)
    }

    /// Requests the stop.
    pub fn trigger(&self) {
        self.requested.send_replace(true);
    }

    /// Whether the stop has been requested.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Waits until the stop is requested; returns at once if it was.
    pub async fn requested(&self) {
        let mut requested = self.requested.subscribe();
        // An error would mean that no sender is left, but `self` is one.
        let _ = requested.wait_for(|requested| *requested).await;
    }
}

/// Runs `work` to its end, or until `grace` after the request to stop; then drops it where it waits.
pub async fn run_until<T>(
    shutdown: &Shutdown,
    grace: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Overran> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return Ok(done),
        () = shutdown.requested() => {}
    }
    tokio::time::timeout(grace, work).await.map_err(|_| Overran { grace })
}

/// The body of a daemon's `main`: a runtime, the signal handlers, `start`'s work under [`run_until`], and an end
/// within five seconds of the request even if a thread is stuck. Its own error comes back inside `T`.
pub fn run<T, W>(start: impl FnOnce(Shutdown) -> W) -> Result<T, RunError>
where
    W: Future<Output = T>,
{
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::install()?;
        Ok(run_until(&shutdown, GRACE, start(shutdown.clone())).await?)
    });
    runtime.shutdown_timeout(THREADS_GRACE);
    outcome
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn everyone_who_waits_sees_the_request_also_later() {
        let shutdown = Shutdown::manual();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let shutdown = shutdown.clone();
                tokio::spawn(async move { shutdown.requested().await })
            })
            .collect();
        assert!(!shutdown.is_requested());
        shutdown.clone().trigger();
        for waiter in waiting {
            waiter.await.unwrap();
        }
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn work_that_ends_by_itself_needs_no_request() {
        assert_eq!(run_until(&Shutdown::manual(), SHORT, async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_listens_ends_cleanly() {
        let shutdown = Shutdown::manual();
        shutdown.trigger();
        let work = async {
            shutdown.requested().await;
            "clean"
        };
        assert_eq!(run_until(&shutdown, GRACE, work).await, Ok("clean"));
    }

    #[tokio::test]
    async fn work_that_does_not_listen_is_cut_off_after_its_grace_and_not_before() {
        let shutdown = Shutdown::manual();
        shutdown.trigger();
        let start = Instant::now();
        assert_eq!(run_until(&shutdown, SHORT, pending::<()>()).await, Err(Overran { grace: SHORT }));
        assert!(start.elapsed() >= SHORT);
    }

    #[test]
    fn a_process_ends_on_sigterm_even_with_a_stuck_thread() {
        let (ended, end) = mpsc::channel();
        let (_release, stuck) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let outcome = run(|shutdown| async move {
                // A blocking call that nobody cancels.
                let _thread = tokio::task::spawn_blocking(move || stuck.recv());
                let kill = format!("kill -TERM {}", std::process::id());
                assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
                shutdown.requested().await;
                "stopped"
            });
            ended.send(outcome).unwrap();
        });
        let outcome = end.recv_timeout(Duration::from_secs(5)).expect("an end within five seconds");
        assert_eq!(outcome.unwrap(), "stopped");
    }

    #[test]
    fn all_graces_together_are_under_five_seconds() {
        assert!(GRACE + THREADS_GRACE < Duration::from_secs(5));
    }
}
