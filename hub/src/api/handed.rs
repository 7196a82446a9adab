//! The door at which a follower is handed what its leader made, before anybody else sees it.
//!
//! A block is large, so nothing of it but its head is read before the hub's key is found under it: whoever has not that key gets
//! no further, and the head of a block that nobody has seen is known to nobody else.

use super::{Answer, Door, broken, busy, refused, unreadable};
use crate::daemon::api::ApiError;
use crate::engine::Hub;
use crate::handing::OTHER_BLOCK;
use crate::ledger::BadBlock;
use crate::replica::ReplicaError;
use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::StatusCode;
use bitcoin::secp256k1::schnorr::Signature;
use palisade_protocol::block::{Block, HubHeader};
use palisade_protocol::codec::{Reader, Wire as _};
use palisade_protocol::units::Height;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;

/// Most bytes of a block: its messages, what follows from votes, and a batch.
const MAX_BLOCK: usize = 32 << 20;
/// Bytes of a header and the hub's signature, with which a block begins.
const HEAD: usize = 140 + 64;
/// Blocks whose rest is read at a time.
static READ: Semaphore = Semaphore::const_new(4);

/// Takes the next block, and answers when it is on disk. One that is there already is as good.
pub(super) async fn take(State(door): State<Door>, body: Body) -> Answer<Value> {
    if !door.follower {
        let message = "this hub makes its blocks itself";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "maker", message));
    }
    let mut body = body.into_data_stream();
    let mut bytes = Vec::new();
    read(&mut body, &mut bytes, HEAD).await?;
    let header = signed_head(&bytes, &door.hub)?;
    if !is_kept(&header, &door.hub)? {
        let _turn = READ.try_acquire().map_err(|_| busy("other blocks are being handed over"))?;
        read(&mut body, &mut bytes, usize::MAX).await?;
        let taken = tokio::task::spawn_blocking(move || keep(&bytes, &door.hub));
        taken.await.map_err(broken)??;
    }
    Ok(Json(json!({ "kept": header.height })))
}

/// Reads on until there are so many bytes, or no more.
async fn read(body: &mut BodyDataStream, bytes: &mut Vec<u8>, most: usize) -> Result<(), ApiError> {
    while bytes.len() < most {
        let Some(piece) = body.next().await else { return Ok(()) };
        let broken_off = |why| ApiError::new(StatusCode::BAD_REQUEST, "malformed-request", why);
        bytes.extend_from_slice(&piece.map_err(broken_off)?);
        if bytes.len() > MAX_BLOCK {
            let why = format!("a block has {MAX_BLOCK} bytes at most");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", why));
        }
    }
    Ok(())
}

/// The header with which a block begins, if the hub has signed it.
fn signed_head(bytes: &[u8], hub: &Hub) -> Result<HubHeader, ApiError> {
    let mut head = Reader::new(bytes);
    let read = HubHeader::decode(&mut head).and_then(|header| Ok((header, Signature::decode(&mut head)?)));
    let (header, signature) = read.map_err(|why| unreadable("block", why))?;
    let ledger = hub.ledger();
    let message = HubHeader::signing_message(&ledger.contexts().hub, &header.hash());
    let key = ledger.genesis().document().hub_key;
    let verified = key.verify(&message, &signature);
    verified.map_err(|_| refused("signature", "the hub has not signed this block", false))?;
    Ok(header)
}

/// Whether a block is here already; only the next one can be taken.
fn is_kept(header: &HubHeader, hub: &Hub) -> Result<bool, ApiError> {
    let (height, next) = (header.height, hub.ledger().next_height());
    if height > next {
        return Err(refused("behind", format_args!("block {next} comes first, and is not here yet"), true));
    }
    if height == next {
        return Ok(false);
    }
    if hub.has(header).map_err(broken)? { Ok(true) } else { Err(other(height)) }
}

fn other(height: Height) -> ApiError {
    refused(OTHER_BLOCK, format_args!("another block is here at height {height}"), false)
}

fn keep(bytes: &[u8], hub: &Hub) -> Result<(), ApiError> {
    let block = Block::from_bytes(bytes).map_err(|why| unreadable("block", why))?;
    let height = block.header.height;
    hub.follow_block(&block).map_err(|why| match why {
        ReplicaError::Invalid(BadBlock::NotNext(_)) if height < hub.ledger().next_height() => other(height),
        ReplicaError::Invalid(why) => refused("block", why, false),
        why => broken(why),
    })
}
