//! The sender: so many messages a second over connections that stay open, whatever the hub answers.
//!
//! Each connection writes its share at the times when it is due and reads answers meanwhile, so a slow hub is sent no less until its
//! connections are full. It has a process of its own, and one thread.

use super::plan::{Plan, Template};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// Messages on a connection that are not answered.
const AHEAD: usize = 64;
/// How long answers are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the sender says when it begins.
pub const BEGINS: &[u8; 8] = b"sending\n";
/// Pause before a connection is made anew.
const AGAIN: Duration = Duration::from_millis(5);
/// Times between two looks at which epoch the hub is in.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What to send.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Where the hub listens.
    pub address: String,
    /// Messages a second, all connections together.
    pub rate: u32,
    /// How long.
    pub time: Duration,
    /// Over how many connections.
    pub connections: usize,
}

/// What was sent, and what came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sent {
    /// Messages that were due by the clock.
    pub due: u64,
    /// Messages that were written to a connection while the time was not over.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// Answers by the rule that they name; `taken` for those that are no refusals.
    pub answers: BTreeMap<String, u64>,
    /// Messages whose connection ended before their answer.
    pub cut: u64,
}

impl Sent {
    /// Answers a second.
    pub fn answered_each_second(&self) -> f64 {
        self.answers.values().sum::<u64>() as f64 / self.seconds
    }

    /// Messages written a second.
    pub fn written_each_second(&self) -> f64 {
        self.written as f64 / self.seconds
    }
}

struct Flood {
    orders: Orders,
    plan: Plan,
    began: Instant,
    epoch: Cell<u64>,
    sent: RefCell<Sent>,
}

/// Sends what is due until the time is over, and waits for the answers.
pub async fn flood(orders: Orders, plan: Plan) -> anyhow::Result<Sent> {
    let epoch = Cell::new(epoch_of(&orders.address, &plan).await?);
    let flood = Rc::new(Flood { orders, plan, began: Instant::now(), epoch, sent: RefCell::default() });
    std::io::stdout().write_all(BEGINS)?;
    std::io::stdout().flush()?;
    let tasks = LocalSet::new();
    for place in 0..flood.orders.connections {
        let flood = flood.clone();
        tasks.spawn_local(async move { flood.send_share(place).await });
    }
    let looking = flood.clone();
    let looks = tasks.spawn_local(async move { looking.follow_epochs().await });
    let end = flood.began + flood.orders.time;
    let waited = async {
        tokio::time::sleep_until(end).await;
        looks.abort();
    };
    tasks.run_until(waited).await;
    let _ = tokio::time::timeout(PATIENCE, tasks).await;
    let mut sent = flood.sent.take();
    sent.seconds = flood.orders.time.as_secs_f64();
    sent.due = (f64::from(flood.orders.rate) * sent.seconds) as u64;
    sent.cut = sent.written.saturating_sub(sent.answers.values().sum());
    Ok(sent)
}

impl Flood {
    /// The messages of one connection: every so many-th of all.
    async fn send_share(&self, place: usize) {
        let mut next = place as u64;
        while !self.is_over(next) {
            if let Ok(stream) = TcpStream::connect(&self.orders.address).await {
                next = self.send_over(stream, next).await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// When a message is due.
    fn due(&self, number: u64) -> Instant {
        self.began + Duration::from_secs_f64(number as f64 / f64::from(self.orders.rate))
    }

    /// Whether a message is sent no more. What a slow hub kept the sender from sending in time is not made up for: that would count as
    /// sent, and be no flood.
    fn is_over(&self, number: u64) -> bool {
        let end = self.began + self.orders.time;
        self.due(number) >= end || Instant::now() >= end
    }

    /// Sends over one connection until it ends or the time does. Gives the next message's number.
    async fn send_over(&self, stream: TcpStream, from: u64) -> u64 {
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let (ahead, next) = (Arc::new(Semaphore::new(AHEAD)), Cell::new(from));
        let write = self.write(writer, &next, &ahead);
        // Whoever has written all waits for the answers.
        tokio::select! {
            biased;
            () = self.read(reader, &ahead) => {}
            () = write => {}
        }
        next.get()
    }

    async fn write(&self, mut writer: OwnedWriteHalf, next: &Cell<u64>, ahead: &Semaphore) {
        let mut bytes = Vec::new();
        loop {
            let number = next.get();
            if self.is_over(number) {
                // The reader ends when all is answered and the hub closes.
                let _ = ahead.acquire_many(AHEAD as u32).await;
                return;
            }
            tokio::time::sleep_until(self.due(number)).await;
            let Ok(permit) = ahead.acquire().await else { return };
            permit.forget();
            next.set(number + self.orders.connections as u64);
            bytes.clear();
            request(self.template(number), number, &mut bytes);
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
            let mut sent = self.sent.borrow_mut();
            (sent.written, sent.bytes) = (sent.written + 1, sent.bytes + bytes.len() as u64);
        }
    }

    /// The template of a message: kinds take turns, and in each kind its templates.
    fn template(&self, number: u64) -> &Template {
        let kinds = self.plan.kinds.len() as u64;
        let kind = &self.plan.kinds[(number % kinds) as usize];
        let epoch = self.epoch.get();
        let of_now: Vec<&Template> =
            kind.iter().filter(|own| own.epoch.is_none_or(|own| own == epoch)).collect();
        of_now[(number / kinds) as usize % of_now.len()]
    }

    async fn read(&self, reader: OwnedReadHalf, ahead: &Semaphore) {
        let mut reader = BufReader::new(reader);
        while let Ok(Some(rule)) = answer(&mut reader).await {
            *self.sent.borrow_mut().answers.entry(rule).or_default() += 1;
            ahead.add_permits(1);
        }
    }

    async fn follow_epochs(&self) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if let Ok(epoch) = epoch_of(&self.orders.address, &self.plan).await {
                self.epoch.set(epoch);
            }
        }
    }
}

/// The epoch in which the hub's next blocks are, as far as the plan knows it.
async fn epoch_of(address: &str, plan: &Plan) -> anyhow::Result<u64> {
    let known = plan.kinds.iter().flatten().filter_map(|own| own.epoch);
    let Some(last) = known.clone().max() else { return Ok(0) };
    let chains: serde_json::Value = reqwest::get(format!("http://{address}/chains")).await?.json().await?;
    // The newest set is that of the epoch after this one.
    let newest = chains[0]["newest_set"].as_u64().context("a set of chain zero")?;
    Ok((newest - 1).min(last))
}

fn request(template: &Template, number: u64, out: &mut Vec<u8>) {
    let head = format!(
        "POST /{} HTTP/1.1\r\nhost: hub\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        template.door,
        template.bytes.len()
    );
    out.extend_from_slice(head.as_bytes());
    template.altered(number, out);
}

/// Reads one answer and gives the rule that it names; none at the end of the connection.
async fn answer(reader: &mut BufReader<OwnedReadHalf>) -> std::io::Result<Option<String>> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = bytes.parse().map_err(std::io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body);
    let rule = body.split_once("\"rule\":\"").and_then(|(_, rest)| Some(rest.split_once('"')?.0));
    Ok(Some(rule.unwrap_or("taken").to_owned()))
}
