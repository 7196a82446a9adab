//! Doors around anchors: shares of checkpoints, timestamps, proofs from files.

use super::{
    Answer, Door, broken, large, no_chain, no_set, not_found, only_makers, refused, stopping, unreadable,
};
use crate::checkpoints::{self, ShareError};
use crate::client::BatchDigests;
use crate::daemon::api::{Api, ApiError};
use crate::proofs::{self, NoProof};
use crate::timestamps::{self, NoFile};
use crate::view;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};
use serde::Deserialize;
use serde_json::{Value, json};

type Octets = ([(&'static str, &'static str); 1], Vec<u8>);

fn octets(bytes: Vec<u8>) -> Octets {
    ([("content-type", "application/octet-stream")], bytes)
}

pub(super) async fn share(State(door): State<Door>, Api(body): Api<Bytes>) -> Answer<Value> {
    only_makers(&door)?;
    let share = CheckpointShare::from_bytes(&body).map_err(|why| unreadable("share of a checkpoint", why))?;
    door.hub.share(share)?.await.map_err(|_| stopping())??;
    Ok(Json(json!({ "kept": true })))
}

pub(super) async fn checkpoint(
    State(door): State<Door>,
    Api(path): Api<Path<u64>>,
) -> Result<Response, ApiError> {
    let epoch = Epoch(path.0);
    let page = move || {
        let ledger = door.hub.ledger();
        let shares = checkpoints::add_up(epoch, &ledger, door.hub.store()).map_err(broken)?;
        let zero = ledger.chains().first().ok_or_else(|| no_chain(&ledger))?;
        Ok::<_, ApiError>(view::checkpoint(&ledger, epoch, &shares.ok_or_else(|| no_set(zero))?))
    };
    large::page(page).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    digest: Hash32,
}

pub(super) async fn stamp(State(door): State<Door>, Api(body): Api<Json<Stamp>>) -> Answer<Value> {
    only_makers(&door)?;
    let digest = body.0.digest;
    if door.hub.find_digest(&digest).map_err(broken)?.is_none() {
        door.hub.timestamp(digest)?.await.map_err(|_| stopping())?;
    }
    show_stamp(&door, digest)
}

pub(super) async fn stamped(State(door): State<Door>, Api(path): Api<Path<Hash32>>) -> Answer<Value> {
    show_stamp(&door, path.0)
}

/// What the log does not hold of a batch: whoever has it can make files from the log.
pub(super) async fn batch(State(door): State<Door>, Api(path): Api<Path<u64>>) -> Answer<BatchDigests> {
    let hub_height = Height(path.0);
    let digests = door.hub.store().digests(hub_height).map_err(broken)?;
    if digests.is_empty() {
        return Err(not_found("block with digests that this hub knows"));
    }
    Ok(Json(BatchDigests { hub_height, digests }))
}

fn show_stamp(door: &Door, digest: Hash32) -> Answer<Value> {
    let found = door.hub.find_digest(&digest).map_err(broken)?;
    let (height, place) = found.ok_or_else(|| not_found("digest"))?;
    Ok(Json(view::timestamp(&door.hub.ledger(), &digest, height, place)))
}

impl From<ShareError> for ApiError {
    fn from(why: ShareError) -> Self {
        match why {
            ShareError::Store(why) => broken(why),
            why => refused(why.rule(), &why, why.can_be_retried()),
        }
    }
}

impl From<NoFile> for ApiError {
    fn from(why: NoFile) -> Self {
        match &why {
            NoFile::Unknown => not_found("digest"),
            NoFile::NotAnchored(_) => Self::new(StatusCode::NOT_FOUND, "not-anchored", &why).can_be_retried(),
            NoFile::Missing(_) | NoFile::Path(_) | NoFile::Store(_) => broken(&why),
        }
    }
}

pub(super) async fn ots(
    State(door): State<Door>,
    Api(path): Api<Path<Hash32>>,
) -> Result<Response, ApiError> {
    let read = move || {
        let found = door.hub.find_digest(&path.0)?.ok_or(NoFile::Unknown)?;
        let plan = timestamps::plan(path.0, found, &door.hub.ledger())?;
        Ok::<_, NoFile>(plan.fill(door.hub.store())?.serialize())
    };
    large::file(read).await
}

impl From<NoProof> for ApiError {
    fn from(why: NoProof) -> Self {
        match &why {
            NoProof::UnknownChain => not_found("chain"),
            NoProof::ChainZero => refused("chain-zero", &why, false),
            NoProof::NotVoted { .. } => refused("not-voted", &why, false),
            NoProof::BeforeOpening { .. } => refused("before-opening", &why, false),
            NoProof::NotOpen | NoProof::NotFinal { .. } => {
                Self::new(StatusCode::NOT_FOUND, "not-final", &why).can_be_retried()
            }
            NoProof::TooLong(_) => refused("too-long", &why, false),
            NoProof::NotAnchored => Self::new(StatusCode::NOT_FOUND, "not-anchored", &why).can_be_retried(),
            NoProof::Missing(_) | NoProof::Store(_) => broken(&why),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootQuery {
    incarnation: Option<u32>,
}

pub(super) async fn root(
    State(door): State<Door>,
    Api(query): Api<Query<RootQuery>>,
) -> Result<Octets, ApiError> {
    Ok(octets(proofs::root(&door.hub.ledger(), query.incarnation)?.to_bytes()))
}

pub(super) async fn proof(
    State(door): State<Door>,
    Api(path): Api<Path<(ChainId, u64)>>,
) -> Result<Response, ApiError> {
    let Path((chain, height)) = path;
    let read = move || {
        let plan = proofs::plan(&door.hub.ledger(), &chain, Height(height))?;
        Ok::<_, NoProof>(plan.fill(door.hub.store())?.to_bytes())
    };
    large::file(read).await
}
