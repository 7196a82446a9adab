//! The signer's door: a Unix socket, 0600, in a directory 0700, open to processes of the same user only.

use super::frame::{self, FrameError};
use super::request::{Answer, Refusal, Request, VERSION};
use super::{Refused, Signer};
use palisade_hub::daemon::lock::{FileLock, LockError};
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::codec::Wire as _;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Connections that are served at once; more wait.
const MAX_CONNECTIONS: usize = 32;
/// How long a connection may stay without a whole request.
const IDLE: Duration = Duration::from_secs(60);

/// Why the door does not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Others may look into the socket's directory.
    #[error("{} is open to other users (mode {mode:04o}); chmod 700 it", dir.display())]
    OpenToOthers {
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another signer answers there.
    #[error("{0}: each signer has a `socket` of its own")]
    Taken(#[from] LockError),
    /// Something that is no socket has the socket's name.
    #[error("{} exists and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("socket {}: {cause}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said. A path of more than 107 bytes is too long for a socket.
        cause: io::Error,
    },
}

/// The user that this process runs as: the peer of a socket pair of its own.
pub fn own_uid() -> io::Result<u32> {
    Ok(UnixStream::pair()?.0.peer_cred()?.uid())
}

/// An open door; its socket goes with it.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    // Let go of last: whoever has it finds no socket, or one that a crash has left.
    _lock: FileLock,
}

impl Drop for Door {
    fn drop(&mut self) {
        // The next start would remove it anyway; a voter that looks now should find nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Opens the door, unless another signer answers behind this socket: whoever asks it must not get the answers of two.
pub fn open(path: &Path) -> Result<Door, DoorError> {
    let io = |cause| DoorError::Io { path: path.to_owned(), cause };
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    private_file::create_dir(dir).map_err(io)?;
    let mode = dir.metadata().map_err(io)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(DoorError::OpenToOthers { dir: dir.to_owned(), mode });
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = FileLock::acquire(Path::new(&name))?;
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path).map_err(io)?,
        Ok(_) => return Err(DoorError::NotASocket(path.to_owned())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(io(why)),
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    // Until here the directory kept others out.
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io)?;
    Ok(Door { listener, path: path.to_owned(), _lock: lock })
}

/// Answers requests of processes of the user `uid` until it is told to stop.
pub async fn serve(signer: Arc<Signer>, door: Door, uid: u32, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async { (places.clone().acquire_owned().await, door.listener.accept().await) };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = shutdown.requested() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(why) => {
                tracing::warn!(%why, "a connection was not accepted");
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == uid => {}
            Ok(peer) => {
                tracing::warn!(peer = peer.uid(), "a process of another user was turned away");
                continue;
            }
            Err(why) => {
                tracing::warn!(%why, "a process without credentials was turned away");
                continue;
            }
        }
        let signer = signer.clone();
        tokio::spawn(async move {
            if let Err(why) = converse(signer, stream).await {
                tracing::warn!(%why, "a connection was closed");
            }
            drop(place);
        });
    }
}

/// One request after the other. What is no request is answered once, and ends the connection.
async fn converse(signer: Arc<Signer>, mut stream: UnixStream) -> Result<(), FrameError> {
    loop {
        // Whoever asks nothing for so long gives its place to others; clients come again.
        let Ok(read) = tokio::time::timeout(IDLE, frame::read(&mut stream)).await else { return Ok(()) };
        let Some(body) = read? else { return Ok(()) };
        let (answer, goes_on) = match Request::from_bytes(&body) {
            Ok(request) => {
                let signer = signer.clone();
                let answer = tokio::task::spawn_blocking(move || answer(&signer, &request)).await;
                (answer.map_err(|why| io::Error::other(why.to_string()))?, true)
            }
            Err(why) => (refusal("encoding", &why), false),
        };
        frame::write(&mut stream, &answer.to_bytes()).await?;
        if !goes_on {
            return Ok(());
        }
    }
}

fn refusal(rule: &str, message: &impl ToString) -> Answer {
    Answer::Refused(Refusal { rule: rule.to_owned(), message: message.to_string() })
}

/// Carries out one request, and logs it whatever comes of it.
fn answer(signer: &Signer, request: &Request) -> Answer {
    let started = Instant::now();
    let done = match request {
        Request::Identity(version) if *version == VERSION => signer.identity().map(Answer::Identity),
        Request::Identity(version) => {
            return refusal("version", &format!("version {version} was asked for, this is {VERSION}"));
        }
        Request::Register(request) => signer.register(request).map(Answer::Registered),
        Request::Commit(request) => signer.commit(request).map(Answer::Commitment),
        Request::Vote(request) => signer.vote(request).map(Answer::Vote),
        Request::Checkpoint(request) => signer.checkpoint(request).map(Answer::Checkpoint),
    };
    let ms = started.elapsed().as_millis() as u64;
    match (request, &done) {
        (Request::Identity(_), Ok(_)) => tracing::debug!(ms, "identity"),
        (Request::Register(r), Ok(_)) => tracing::info!(chain = %r.chain, ms, "registration signed"),
        (Request::Commit(r), Ok(_)) => tracing::info!(chain = %r.chain, epoch = r.epoch.0, ms, "committed"),
        (Request::Vote(r), Ok(_)) => {
            tracing::info!(chain = %r.chain, height = r.height.0, block = %r.block, ms, "voted");
        }
        (Request::Checkpoint(r), Ok(_)) => {
            tracing::info!(epoch = r.epoch.0, header = %r.header, ms, "checkpoint signed")
        }
        (_, Err(why @ (Refused::AlreadyVoted { .. } | Refused::Inconsistent(_) | Refused::Faulty))) => {
            tracing::error!(rule = why.rule(), %why, "refused");
        }
        (_, Err(why)) => tracing::warn!(rule = why.rule(), %why, "refused"),
    }
    done.unwrap_or_else(|why| refusal(why.rule(), &why))
}

#[cfg(test)]
mod tests;
