//! A hub that lies: a proxy before the real one that tells whoever asks it about one block whose state root is false. The
//! header is signed with the hub's own key, as a thief of the hub's disk would; no shipped binary can.

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use clap::Parser;
use palisade_hub::client::{HubClient, LogPage};
use palisade_hub::daemon::endpoint::ListenAddr;
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::keyfile::{self, KdfCost};
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::serve::Server;
use palisade_hub::daemon::shutdown::{self, Shutdown};
use palisade_hub::run::KEY_PURPOSE;
use palisade_protocol::block::{Block, HubHeader};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{Context, Purpose};
use palisade_protocol::hash::sha256;
use palisade_protocol::units::Height;
use reqwest::Url;
use secp256k1::{Keypair, Message as Digest, SECP256K1};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Stands before a hub and tells of one false block: the first one from now on that holds a message.
#[derive(Parser)]
struct Cli {
    /// The hub's genesis document.
    #[arg(long)]
    genesis: PathBuf,
    /// The hub's key file.
    #[arg(long)]
    key_file: PathBuf,
    /// File with its password.
    #[arg(long)]
    password_file: PathBuf,
    /// The real hub.
    #[arg(long)]
    hub: Url,
    /// The address in use is written here once the liar listens.
    #[arg(long)]
    address_file: PathBuf,
}

/// What the liar knows.
struct Liar {
    hub: Url,
    http: reqwest::Client,
    key: Keypair,
    context: Context,
    /// Up to this height it tells the truth.
    honest: Height,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = shutdown::run(|shutdown| async move { run(cli, shutdown).await }).map_err(Failure::failed);
    exit::finish(done.and_then(|done| Ok(done?)), Format::Text)
}

async fn run(cli: Cli, shutdown: Shutdown) -> anyhow::Result<()> {
    let genesis = read_genesis(&cli.genesis)?;
    let password = PasswordSource::File(cli.password_file).read("")?;
    let weakest = KdfCost::for_network(genesis.network());
    let (_, secret) = keyfile::open::<32>(&cli.key_file, KEY_PURPOSE, &password, weakest)?;
    let key = Keypair::from_seckey_slice(SECP256K1, secret.expose())?;
    let status: Value = HubClient::new(cli.hub.clone()).get_json("status", &[]).await?;
    let honest = Height(status["height"].as_u64().context("the hub has made no block yet")?);
    let http = reqwest::Client::builder().no_proxy().build()?;
    let context = genesis.zero().context(Purpose::Hub);
    let liar = Arc::new(Liar { hub: cli.hub, http, key, context, honest });
    let listen: ListenAddr =
        serde_json::from_value(json!({ "address": "127.0.0.1:0", "address_file": cli.address_file }))?;
    let routes = Router::new().fallback(answer).with_state(liar);
    Server::bind(&listen).await?.run(routes, &shutdown).await;
    Ok(())
}

async fn answer(
    State(liar): State<Arc<Liar>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match liar.pass_on(method, &uri, &headers, body).await {
        Ok((status, answer)) => {
            (status, [(header::CONTENT_TYPE, "application/json")], answer).into_response()
        }
        Err(why) => (StatusCode::BAD_GATEWAY, why.to_string()).into_response(),
    }
}

impl Liar {
    /// Asks the real hub, and changes what it says of blocks.
    async fn pass_on(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = self.http.request(method, self.hub.join(path)?).body(body);
        if let Some(kind) = headers.get(header::CONTENT_TYPE) {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let truth = answer.bytes().await?.to_vec();
        if uri.path() != "/blocks" || !status.is_success() {
            return Ok((status, truth));
        }
        let told = self.falsify(serde_json::from_slice(&truth)?)?;
        Ok((status, serde_json::to_vec(&told)?))
    }

    /// The same page up to the first block to lie about, which is false and the last.
    fn falsify(&self, page: LogPage) -> anyhow::Result<LogPage> {
        let mut blocks = Vec::new();
        for hex in page.blocks {
            let block = Block::from_bytes(&hex::decode(&hex)?)?;
            if block.header.height > self.honest && !block.messages.is_empty() {
                blocks.push(hex::encode(self.lie(block).to_bytes()));
                break;
            }
            blocks.push(hex);
        }
        Ok(LogPage { blocks })
    }

    /// The block with another state root, signed as the hub signs. Always the same lie about the same block.
    fn lie(&self, block: Block) -> Block {
        let header = HubHeader { state_root: sha256(&[&block.header.state_root.0]), ..block.header };
        let digest = Digest::from_digest(HubHeader::signing_message(&self.context, &header.hash()));
        let signature = SECP256K1.sign_schnorr_no_aux_rand(&digest, &self.key);
        Block { header, signature, ..block }
    }
}
