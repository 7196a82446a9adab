use super::*;
use axum::Router;
use axum::routing::get;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A chain in memory, whose links may be broken.
struct Chain(BTreeMap<u64, ChainBlock>);

impl Chain {
    fn up_to(tip: u64) -> Self {
        let block = |height: u64| ChainBlock {
            height: Height(height),
            hash: hash(height),
            parent: hash(height.wrapping_sub(1)),
        };
        Self((0..=tip).map(|height| (height, block(height))).collect())
    }
}

fn hash(height: u64) -> Hash32 {
    Hash32([u8::try_from(height % 251).unwrap(); 32])
}

impl ChainSource for Chain {
    async fn tip(&self) -> Result<ChainBlock, SourceError> {
        Ok(*self.0.last_key_value().unwrap().1)
    }

    async fn block(&self, height: Height) -> Result<Option<ChainBlock>, SourceError> {
        Ok(self.0.get(&height.0).copied())
    }
}

#[tokio::test]
async fn a_descendant_of_all_that_is_known_is_voted_for() {
    let chain = Chain::up_to(20);
    let known = [(Height(10), hash(10)), (Height(15), hash(15))];
    assert_eq!(chain.descendant(Height(20), &known).await.unwrap(), hash(20));
    assert_eq!(chain.descendant(Height(20), &[]).await.unwrap(), hash(20));
    assert!(chain.check_genesis(hash(0)).await.is_ok());
    assert!(matches!(chain.check_genesis(hash(1)).await, Err(SourceError::OtherBranch { .. })));
}

#[tokio::test]
async fn another_branch_a_broken_link_and_a_gap_are_refused() {
    let mut chain = Chain::up_to(20);
    let check = async |chain: &Chain, known: &[(Height, Hash32)]| {
        chain.descendant(Height(20), known).await.unwrap_err().to_string()
    };
    let other = check(&chain, &[(Height(10), hash(10)), (Height(15), hash(99))]).await;
    assert!(other.contains("at height 15"), "{other}");
    let lower = check(&chain, &[(Height(10), hash(99)), (Height(15), hash(15))]).await;
    assert!(lower.contains("at height 10"), "{lower}");
    chain.0.get_mut(&17).unwrap().parent = hash(99);
    let broken = check(&chain, &[(Height(15), hash(15))]).await;
    assert!(broken.starts_with("block 17 has parent"), "{broken}");
    chain.0.remove(&18);
    let gap = check(&chain, &[(Height(15), hash(15))]).await;
    assert!(gap.contains("no block at height 18"), "{gap}");
    let beyond = chain.descendant(Height(21), &[]).await.unwrap_err();
    assert!(matches!(beyond, SourceError::Missing(Height(21))));
}

#[tokio::test]
async fn of_several_nodes_only_what_all_show_is_voted_for() {
    let other = |height: u64, hash: Hash32| {
        let mut chain = Chain::up_to(20);
        chain.0.get_mut(&height).unwrap().hash = hash;
        chain
    };
    let of = |chains: Vec<Chain>| {
        let mut named = (0..).zip(chains).map(|(index, chain)| (format!("node {index}"), chain));
        let (name, first) = named.next().unwrap();
        let mut all = Agreeing::new(name, first);
        named.for_each(|(name, chain)| all.push(name, chain));
        all
    };
    let known = [(Height(10), hash(10))];
    let same = of(vec![Chain::up_to(20), Chain::up_to(17), Chain::up_to(19)]);
    assert_eq!(same.tip().await.unwrap().height, Height(17));
    assert_eq!(same.descendant(Height(17), &known).await.unwrap(), hash(17));
    assert!(same.block(Height(18)).await.unwrap().is_none());
    assert!(matches!(same.descendant(Height(18), &known).await, Err(SourceError::Missing(Height(18)))));
    for liar in 0..3 {
        for height in [11, 15, 20] {
            let mut chains = vec![Chain::up_to(20), Chain::up_to(20), Chain::up_to(20)];
            chains[liar] = other(height, hash(99));
            let nodes = of(chains);
            let why = nodes.block(Height(height)).await.unwrap_err().to_string();
            let wanted = format!(
                "disagree at height {height}: node 0 has {}",
                hash(if liar == 0 { 99 } else { height })
            );
            assert!(why.contains(&wanted), "{why}");
            let why = nodes.descendant(Height(20), &known).await.unwrap_err();
            assert!(matches!(why, SourceError::Disagree { height: at, .. } if at == Height(height)), "{why}");
        }
    }
}

#[tokio::test]
async fn a_node_that_answers_nonsense_is_no_source() {
    let block = |height: u64| {
        let hash = hash(1);
        axum::Json(serde_json::json!({ "height": height, "hash": hash, "parent": hash }))
    };
    let router = Router::new()
        .route("/tip", get(async || "{\"height\": 1}"))
        .route("/blocks/1", get(async move || block(1)))
        .route("/blocks/2", get(async move || block(1)))
        .route("/blocks/3", get(async || "x".repeat(MAX_ANSWER + 1)))
        .route("/blocks/4", get(async || StatusCode::INTERNAL_SERVER_ERROR));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let chain = DevChain::new(format!("http://{address}").parse().unwrap());
    assert_eq!(chain.block(Height(1)).await.unwrap().unwrap().hash, hash(1));
    assert!(chain.block(Height(9)).await.unwrap().is_none());
    for height in [2, 3, 4] {
        let answer = chain.block(Height(height)).await;
        assert!(matches!(answer, Err(SourceError::Malformed(_))), "{height}: {answer:?}");
    }
    assert!(matches!(chain.tip().await, Err(SourceError::Malformed(_))));
    serving.abort();
}

/// A node that answers whoever asks for blocks with this list.
async fn listing(blocks: &[ChainBlock]) -> (DevChain, tokio::task::JoinHandle<std::io::Result<()>>) {
    let show = |block: &ChainBlock| serde_json::json!({ "height": block.height, "hash": block.hash, "parent": block.parent });
    let list = serde_json::Value::from_iter(blocks.iter().map(show));
    let router = Router::new().route("/blocks", get(async move || axum::Json(list)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    (DevChain::new(url.parse().unwrap()), serving)
}

/// Lists of the blocks 10 to 20 that are none, and the height that each lacks; `None` where it is too long.
fn bad_lists() -> Vec<(Vec<ChainBlock>, Option<u64>)> {
    let chain: Vec<ChainBlock> = Chain::up_to(30).0.into_values().collect();
    let honest = &chain[10..=20];
    let mut lists = Vec::new();
    for place in [0, 1, 5, 9, 10] {
        for hash in [honest[place].hash, hash(99)] {
            let twin = ChainBlock { hash, ..honest[place] };
            for at in [place, place + 1] {
                let mut list = honest.to_vec();
                list.insert(at, twin);
                lists.push((list, None));
            }
            // As long as it should be: in the place of another one, next to itself or far away.
            for at in (0..honest.len()).filter(|at| *at != place) {
                let mut list = honest.to_vec();
                list[at] = twin;
                lists.push((list, Some(10 + at as u64)));
            }
        }
    }
    for place in 0..10 {
        let mut list = honest.to_vec();
        list.swap(place, place + 1);
        lists.push((list, Some(10 + place as u64)));
    }
    lists.push((honest.iter().rev().copied().collect(), Some(10)));
    for place in 0..honest.len() {
        let mut list = honest.to_vec();
        list.remove(place);
        lists.push((list, Some(10 + place as u64)));
    }
    lists.extend([9..=19, 11..=20, 11..=21, 20..=30].map(|other| (chain[other].to_vec(), Some(10))));
    lists.extend([9..=20, 10..=21, 0..=30].map(|longer| (chain[longer].to_vec(), None)));
    lists.push((Vec::new(), Some(10)));
    lists
}

#[tokio::test]
async fn a_list_with_a_height_twice_unordered_with_a_hole_too_long_or_from_elsewhere_is_refused_whole() {
    let known = [(Height(10), hash(10))];
    for (list, lacks) in bad_lists() {
        let (chain, serving) = listing(&list).await;
        let (same, also) = listing(&list).await;
        let alone = chain.descendant(Height(20), &known).await;
        let mut both = Agreeing::new("one".to_owned(), chain);
        both.push("other".to_owned(), same);
        for answer in [alone, both.descendant(Height(20), &known).await] {
            let heights: Vec<u64> = list.iter().map(|block| block.height.0).collect();
            match (answer, lacks) {
                (Err(SourceError::Missing(height)), Some(lacks)) => {
                    assert_eq!(height.0, lacks, "{heights:?}")
                }
                (Err(SourceError::Malformed(why)), None) => {
                    assert_eq!(why, format!("{} blocks where 11 were asked for", list.len()));
                }
                (answer, _) => panic!("{heights:?}: {answer:?}"),
            }
        }
        serving.abort();
        also.abort();
    }
}

/// A node of a chain that is long, with a door for many blocks or without, and how often it was asked.
async fn long_chain(
    has_list: bool,
) -> (DevChain, Arc<AtomicUsize>, tokio::task::JoinHandle<std::io::Result<()>>) {
    #[derive(Deserialize)]
    struct Range {
        from: u64,
        limit: u64,
    }
    let asked: Arc<AtomicUsize> = Arc::default();
    let (one, many) = (asked.clone(), asked.clone());
    let chain = Arc::new(Chain::up_to(10_000));
    let block = |chain: &Chain, height: u64| {
        let block = chain.0.get(&height)?;
        Some(serde_json::json!({ "height": height, "hash": block.hash, "parent": block.parent }))
    };
    let other = chain.clone();
    let mut router = Router::new().route(
        "/blocks/{height}",
        get(async move |axum::extract::Path(height): axum::extract::Path<u64>| {
            one.fetch_add(1, Ordering::SeqCst);
            block(&other, height).map(axum::Json).ok_or(StatusCode::NOT_FOUND)
        }),
    );
    if has_list {
        let list = async move |axum::extract::Query(Range { from, limit }): axum::extract::Query<Range>| {
            many.fetch_add(1, Ordering::SeqCst);
            axum::Json((from..from + limit).filter_map(|height| block(&chain, height)).collect::<Vec<_>>())
        };
        router = router.route("/blocks", get(list));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    (DevChain::new(url.parse().unwrap()), asked, serving)
}

#[tokio::test]
async fn the_links_of_thousands_of_blocks_are_followed_by_hundreds_where_the_node_can_and_one_by_one_where_not()
 {
    let (chain, asked, serving) = long_chain(true).await;
    let known = [(Height(1), hash(1)), (Height(9_995), hash(9_995))];
    assert_eq!(chain.descendant(Height(10_000), &known).await.unwrap(), hash(10_000));
    assert_eq!(asked.load(Ordering::SeqCst), 50);
    let other = [(Height(1), hash(99)), (Height(9_995), hash(9_995))];
    let refused = chain.descendant(Height(10_000), &other).await.unwrap_err();
    assert!(matches!(refused, SourceError::OtherBranch { height: Height(1), .. }), "{refused}");
    let beyond = chain.descendant(Height(10_001), &known).await.unwrap_err();
    assert!(matches!(beyond, SourceError::Missing(Height(10_001))), "{beyond}");
    serving.abort();

    let (chain, asked, serving) = long_chain(false).await;
    let known = [(Height(9_700), hash(9_700))];
    assert_eq!(chain.descendant(Height(10_000), &known).await.unwrap(), hash(10_000));
    // What no door answers is not counted.
    assert_eq!(asked.load(Ordering::SeqCst), 301);
    serving.abort();
}
