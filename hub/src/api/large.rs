//! Answers that are large: pages of the log, lists and files. However many ask for them, few are made at a time, and what waits for
//! its clients to take it has a bound; one that does not take its answer loses it. Small answers need none of that room.

use super::{broken, busy};
use crate::daemon::api::ApiError;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_stream::Stream;

/// Pages and lists that are made at a time. The others wait in the order in which they came.
static PAGES: Semaphore = Semaphore::const_new(2);
/// Files that are made at a time: making one costs much and asking for one nothing.
static FILES: Semaphore = Semaphore::const_new(2);
/// What lies here, made and not taken yet, in units of [`UNIT`].
static ROOM: Semaphore = Semaphore::const_new((256 << 20) / UNIT);
const UNIT: usize = 1 << 10;
/// Most bytes of an answer that needs no room.
const SMALL: usize = 64 << 10;
/// What is handed to a connection at a time.
const PIECE: usize = 32 << 10;
/// The time that a client has to take its answer.
const TAKEN: Duration = Duration::from_secs(60);

/// Makes a page in a thread of its own, in its turn.
pub(super) async fn page<T: Serialize, E: Into<ApiError> + Send + 'static>(
    page: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<Response, ApiError> {
    let turn = PAGES.acquire().await.map_err(broken)?;
    let json = move || serde_json::to_vec(&page().map_err(Into::into)?).map_err(broken);
    let made = in_a_thread(turn, json).await?;
    answer(made, "application/json")
}

/// Makes a file in a thread of its own, unless too many are being made.
pub(super) async fn file<E: Into<ApiError> + Send + 'static>(
    file: impl FnOnce() -> Result<Vec<u8>, E> + Send + 'static,
) -> Result<Response, ApiError> {
    let turn = FILES.try_acquire().map_err(|_| busy("other files are being made: try again in a moment"))?;
    let made = in_a_thread(turn, || file().map_err(Into::into)).await?;
    answer(made, "application/octet-stream")
}

/// The turn goes along: a client that hangs up makes no room while its answer is still being made.
async fn in_a_thread(
    turn: SemaphorePermit<'static>,
    make: impl FnOnce() -> Result<Vec<u8>, ApiError> + Send + 'static,
) -> Result<Vec<u8>, ApiError> {
    let work = move || {
        let made = make();
        drop(turn);
        made
    };
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}

fn answer(made: Vec<u8>, kind: &'static str) -> Result<Response, ApiError> {
    let length = made.len();
    let body = if length <= SMALL {
        Body::from(made)
    } else {
        let size = u32::try_from(length.div_ceil(UNIT)).map_err(broken)?;
        let full = |_| busy("too much waits to be taken by others: try again in a moment");
        let room = ROOM.try_acquire_many(size).map_err(full)?;
        Body::from_stream(Pieces { left: made.into(), until: Instant::now() + TAKEN, _room: room })
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    Ok((headers, body).into_response())
}

/// A large answer while its client takes it.
struct Pieces {
    left: Bytes,
    until: Instant,
    _room: SemaphorePermit<'static>,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        // The connection asks for the next piece when it has handed on what it had.
        if Instant::now() > self.until {
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
        let piece = self.left.len().min(PIECE);
        Poll::Ready(Some(Ok(self.left.split_to(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    #[tokio::test]
    async fn a_large_answer_takes_room_until_it_is_taken_or_its_time_is_over_and_a_small_one_takes_none() {
        let all = ROOM.available_permits();
        let small = answer(vec![7; SMALL], "text/plain").unwrap();
        assert_eq!(ROOM.available_permits(), all);
        let large = answer(vec![7; 3 * SMALL], "text/plain").unwrap();
        assert_eq!(ROOM.available_permits(), all - 3 * SMALL / UNIT);
        assert_eq!(large.headers()[header::CONTENT_LENGTH], (3 * SMALL).to_string());
        let taken = axum::body::to_bytes(large.into_body(), usize::MAX).await.unwrap();
        assert_eq!(taken, vec![7; 3 * SMALL]);
        assert_eq!(ROOM.available_permits(), all);
        drop(small);

        let slow = |until| Pieces {
            left: vec![7; 2 * PIECE].into(),
            until,
            _room: ROOM.try_acquire_many(1).unwrap(),
        };
        let now = Instant::now();
        assert_eq!(slow(now + TAKEN).next().await.unwrap().unwrap().len(), PIECE);
        let late = slow(now.checked_sub(Duration::from_millis(1)).unwrap()).next().await.unwrap();
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);

        // Whoever comes when there is no room left is told so, and only with a large answer.
        let rest = ROOM.try_acquire_many(u32::try_from(ROOM.available_permits()).unwrap()).unwrap();
        let refused = answer(vec![7; SMALL + 1], "text/plain").unwrap_err();
        assert!(refused.refusal().retry && refused.refusal().rule == "busy", "{refused}");
        assert!(answer(vec![7; SMALL], "text/plain").is_ok());
        drop(rest);
        assert_eq!(ROOM.available_permits(), all);
    }
}
