//! The end of what exports: on threads of its own, for the SDK blocks.

use std::io;
use std::sync::mpsc;
use std::thread;

use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::sync::oneshot;

use super::FLUSH_WITHIN;

/// What exports, and a thread that waits for its end: a system that gives none says so when
/// telemetry is put into force, not when there is nobody left to be told.
#[derive(Debug)]
pub(super) struct Providers {
    pub(super) meters: SdkMeterProvider,
    pub(super) tracers: SdkTracerProvider,
    pub(super) ender: Ender,
}

/// A thread that waits for something to end.
#[derive(Debug)]
pub(super) struct Ender(mpsc::SyncSender<Ending>);

#[derive(Debug)]
struct Ending {
    meters: SdkMeterProvider,
    tracers: SdkTracerProvider,
    /// Whether everything was taken.
    done: oneshot::Sender<bool>,
}

impl Ender {
    /// Has a thread made like this.
    ///
    /// # Errors
    /// The system gives none.
    pub(super) fn spawn(thread: thread::Builder) -> io::Result<Self> {
        let (work, waiting) = mpsc::sync_channel(1);
        thread.spawn(move || {
            // Where the exporters could not be made there is nothing to end.
            if let Ok(ending) = waiting.recv() {
                end(ending);
            }
        })?;
        Ok(Self(work))
    }
}

impl Providers {
    /// Sends what is there, without waiting for it: whether it was taken is told later.
    pub(super) fn end(self) -> oneshot::Receiver<bool> {
        let Self {
            meters,
            tracers,
            ender: Ender(work),
        } = self;
        let (done, ended) = oneshot::channel();
        let ending = Ending {
            meters,
            tracers,
            done,
        };
        // There is room for the one end that there is.
        let _ = work.try_send(ending);
        ended
    }
}

/// Both at the same time, so that each has as long as there is; one after the other if the system
/// gives no further thread.
fn end(ending: Ending) {
    let Ending {
        meters,
        tracers,
        done,
    } = ending;
    let of_thread = tracers.clone();
    let spans = thread::Builder::new().spawn(move || of_thread.shutdown_with_timeout(FLUSH_WITHIN));
    let metrics = meters.shutdown();
    let spans = match spans {
        Ok(spans) => spans.join().is_ok_and(|spans| spans.is_ok()),
        Err(_) => tracers.shutdown_with_timeout(FLUSH_WITHIN).is_ok(),
    };
    // Whoever does not wait any more needs no answer.
    let _ = done.send(metrics.is_ok() && spans);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_gives_no_thread_is_an_error_and_no_panic() {
        // No address space is that large.
        let too_large = thread::Builder::new().stack_size(1 << 60);
        Ender::spawn(too_large).unwrap_err();
    }

    #[tokio::test]
    async fn the_end_is_told() {
        let providers = Providers {
            meters: SdkMeterProvider::builder().build(),
            tracers: SdkTracerProvider::builder().build(),
            ender: Ender::spawn(thread::Builder::new()).unwrap(),
        };
        assert_eq!(providers.end().await, Ok(true));
    }
}
