//! Frames on the socket: four bytes of length, big-endian, then so many bytes. Bounded before anything is allocated.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest frame, in bytes. The longest true one is an identity with a few hundred chains.
pub const MAX_FRAME: usize = 64 << 10;
/// How long the rest of a frame may take once its first byte has come.
const FRAME_TIME: Duration = Duration::from_secs(5);

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side broke off in the middle, or the socket failed.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The frame claims to be longer than any.
    #[error("a frame of {0} bytes was announced, at most {MAX_FRAME} are allowed")]
    TooLong(usize),
    /// The rest of the frame did not come.
    #[error("the rest of a frame did not come within {} s", FRAME_TIME.as_secs())]
    TooSlow,
}

/// The next frame; `None` if the other side ended between two frames.
pub async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Result<Option<Vec<u8>>, FrameError> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    let rest = async {
        stream.read_exact(&mut length[1..]).await?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(Some(body))
    };
    tokio::time::timeout(FRAME_TIME, rest).await.map_err(|_| FrameError::TooSlow)?
}

/// Sends a frame.
pub async fn write(stream: &mut (impl AsyncWriteExt + Unpin), body: &[u8]) -> Result<(), FrameError> {
    if body.len() > MAX_FRAME {
        return Err(FrameError::TooLong(body.len()));
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let frame = [&length.to_be_bytes()[..], body].concat();
    Ok(stream.write_all(&frame).await?)
}
