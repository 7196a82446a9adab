//! The voter's side of the socket.

use super::frame::{self, FrameError};
use super::request::{
    Answer, CheckpointRequest, CommitRequest, Identity, RegisterRequest, Registered, Request, VERSION,
    VoteRequest,
};
use super::server::own_uid;
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::codec::{DecodeError, Wire as _};
use palisade_protocol::finality::commitment::Commitment;
use palisade_protocol::finality::vote::Vote;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// How long the signer may take: committing to the longest epoch takes seconds.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Why the signer gave no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// It is not there, or broke off.
    #[error("signer at {}: {why}", path.display())]
    Unreachable {
        /// Its socket.
        path: PathBuf,
        /// What happened.
        why: FrameError,
    },
    /// Another user's process listens there.
    #[error("signer at {}: the process there runs as user {found}, not as user {wanted}", path.display())]
    OtherUser {
        /// Its socket.
        path: PathBuf,
        /// Whose it is.
        found: u32,
        /// Who we are.
        wanted: u32,
    },
    /// It refuses.
    #[error("the signer refuses ({rule}): {message}")]
    Refused {
        /// Name of the rule.
        rule: String,
        /// In words.
        message: String,
    },
    /// Its answer is none.
    #[error("the signer's answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// It answered another question.
    #[error("the signer answered another question")]
    Confused,
}

impl SignerError {
    /// Whether the signer's record knows no such nonces as a set names: they are another record's.
    pub fn is_of_another_record(&self) -> bool {
        matches!(self, Self::Refused { rule, .. } if ["not-committed", "other-root"].contains(&rule.as_str()))
    }
}

/// A connection to the signer, opened when it is needed and again when it was lost.
#[derive(Debug)]
pub struct SignerClient {
    path: PathBuf,
    connection: Mutex<Option<UnixStream>>,
}

macro_rules! asking {
    ($($(#[$doc:meta])* $name:ident($request:ident: $asked:ty) -> $variant:ident($answered:ty);)+) => {$(
        $(#[$doc])*
        pub async fn $name(&self, request: $asked) -> Result<$answered, SignerError> {
            match self.ask(&Request::$request(request)).await? {
                Answer::$variant(answer) => Ok(answer),
                _ => Err(SignerError::Confused),
            }
        }
    )+};
}

impl SignerClient {
    /// A client of the signer at a socket. Nothing is sent yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), connection: Mutex::default() }
    }

    /// The signer's keys.
    pub async fn identity(&self) -> Result<Identity, SignerError> {
        match self.ask(&Request::Identity(VERSION)).await? {
            Answer::Identity(identity) => Ok(identity),
            _ => Err(SignerError::Confused),
        }
    }

    asking! {
        /// A signed registration.
        register(Register: RegisterRequest) -> Registered(Registered);
        /// A commitment to an epoch's nonces.
        commit(Commit: CommitRequest) -> Commitment(Commitment);
        /// A vote.
        vote(Vote: VoteRequest) -> Vote(Vote);
        /// A share of a checkpoint.
        checkpoint(Checkpoint: CheckpointRequest) -> Checkpoint(CheckpointShare);
    }

    async fn ask(&self, request: &Request) -> Result<Answer, SignerError> {
        let mut connection = self.connection.lock().await;
        let body = request.to_bytes();
        // Taken out while in use: whoever gives up waiting leaves no half-read answer for the next one.
        if let Some(stream) = connection.take()
            && let Ok((answer, stream)) = exchange(stream, &body).await
        {
            *connection = Some(stream);
            return read(&answer);
        }
        // The signer was restarted, or this is the first request. Every request may be repeated.
        let unreachable = |why| SignerError::Unreachable { path: self.path.clone(), why };
        let stream = self.connect().await?;
        let (answer, stream) = exchange(stream, &body).await.map_err(unreachable)?;
        *connection = Some(stream);
        read(&answer)
    }

    async fn connect(&self) -> Result<UnixStream, SignerError> {
        let path = || self.path.clone();
        let unreachable = |why: io::Error| SignerError::Unreachable { path: path(), why: why.into() };
        let stream = UnixStream::connect(&self.path).await.map_err(unreachable)?;
        let found = stream.peer_cred().map_err(unreachable)?.uid();
        let wanted = own_uid().map_err(unreachable)?;
        if found == wanted { Ok(stream) } else { Err(SignerError::OtherUser { path: path(), found, wanted }) }
    }
}

async fn exchange(mut stream: UnixStream, body: &[u8]) -> Result<(Vec<u8>, UnixStream), FrameError> {
    let talk = async {
        frame::write(&mut stream, body).await?;
        let ended = || FrameError::Io(io::ErrorKind::UnexpectedEof.into());
        frame::read(&mut stream).await?.ok_or_else(ended)
    };
    let answer = tokio::time::timeout(ANSWER_TIME, talk).await.map_err(|_| FrameError::TooSlow)??;
    Ok((answer, stream))
}

fn read(answer: &[u8]) -> Result<Answer, SignerError> {
    match Answer::from_bytes(answer)? {
        Answer::Refused(refusal) => {
            Err(SignerError::Refused { rule: refusal.rule, message: refusal.message })
        }
        answer => Ok(answer),
    }
}
