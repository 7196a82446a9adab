//! A link between a daemon and its hub or node, that is cut, stands still, breaks off in the middle of an answer, or is slow.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long a link is disturbed.
const LASTS: Duration = Duration::from_secs(3);
/// What a slow link carries at once, and how long it then rests.
const SLOW: (usize, Duration) = (16, Duration::from_millis(5));

/// How a link is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// No connection lasts, no new one is taken.
    Dropped,
    /// Nothing comes through.
    Stalled,
    /// Answers end in their middle.
    Halved,
    /// Answers come in small pieces.
    Slow,
}

impl Display for Cut {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Dropped => "dropped",
            Self::Stalled => "stalled",
            Self::Halved => "cut in the middle of answers",
            Self::Slow => "slow",
        })
    }
}

/// A running link. It ends when this is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    came: Arc<OnceLock<Instant>>,
    taking: JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Disturbance {
    cut: Cut,
    nth: u32,
    pieces: Arc<AtomicU32>,
    came: Arc<OnceLock<Instant>>,
}

impl Link {
    /// Leads to an address, and is disturbed from the nth piece of an answer on that comes through it.
    pub async fn start(to: SocketAddr, cut: Cut, nth: u32) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let came = Arc::new(OnceLock::new());
        let disturbance = Disturbance { cut, nth, pieces: Arc::default(), came: came.clone() };
        let taking = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if disturbance.now() != Some(Cut::Dropped) {
                    tokio::spawn(carry(client, to, disturbance.clone()));
                }
            }
        });
        Ok(Self { address, came, taking })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When it began to be disturbed.
    pub fn came(&self) -> Option<Instant> {
        self.came.get().copied()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.taking.abort();
    }
}

impl Disturbance {
    /// Counts a piece of an answer.
    fn count(&self) {
        if self.pieces.fetch_add(1, Ordering::Relaxed) + 1 == self.nth {
            // It is the nth only once.
            let _ = self.came.set(Instant::now());
        }
    }

    /// How the link is disturbed now.
    fn now(&self) -> Option<Cut> {
        self.left().map(|_| self.cut)
    }

    fn left(&self) -> Option<Duration> {
        LASTS.checked_sub(self.came.get()?.elapsed())
    }
}

/// Carries a connection until one of its ends has closed it.
async fn carry(client: TcpStream, to: SocketAddr, disturbance: Disturbance) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    let ((mut asked, answer), (answered, mut ask)) = (client.into_split(), server.into_split());
    tokio::select! {
        _ = tokio::io::copy(&mut asked, &mut ask) => {}
        _ = answers(answered, answer, &disturbance) => {}
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    disturbance: &Disturbance,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        disturbance.count();
        let piece = &buffer[..length];
        match disturbance.now() {
            None => to.write_all(piece).await?,
            Some(Cut::Dropped) => return Ok(()),
            Some(Cut::Halved) => return to.write_all(&piece[..length / 2]).await,
            Some(Cut::Stalled) => {
                tokio::time::sleep(disturbance.left().unwrap_or_default()).await;
                to.write_all(piece).await?;
            }
            Some(Cut::Slow) => {
                for few in piece.chunks(SLOW.0) {
                    to.write_all(few).await?;
                    tokio::time::sleep(SLOW.1).await;
                }
            }
        }
    }
}
