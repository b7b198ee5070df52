//! `torc cluster …`: making and changing a cluster by hand.

use std::error::Error;
use std::time::Duration;

use clap::{Args, Subcommand};
use torc_cluster::ids::{Member, NodeId, ShardId, Term};
use torc_cluster::map::{MapCommand, MapReply, Policy, Settings};
use torc_runtime::clock::boottime_ms;
use torc_server::agent::admin::{AdminReply, AdminRequest};
use torc_server::agent::bootstrap::{ClusterPlan, Tool};

use super::tool::{ClusterArgs, block_on};

/// How long a failover may take before the tool stops watching it (ms).
const WATCH_MS: u64 = 10_000;

/// How long until the wish is said again (ms).
const AGAIN_MS: u64 = 1_000;

/// `torc cluster`.
#[derive(Subcommand, Debug)]
pub enum ClusterCommand {
    /// Makes a cluster out of nodes that were started with --cluster
    Init(InitArgs),
    /// Moves the primary of a shard to another in-sync node; no write is lost
    Failover(FailoverArgs),
    /// Promotes a node that is not in sync: WRITES ARE LOST; only when nobody else can be had back
    FailoverUnclean(UncleanArgs),
    /// Moves every primary off a node, before it is stopped
    Drain(DrainArgs),
    /// Sets how keys with a prefix are acknowledged and read; without a prefix: lists what is set
    Policy(PolicyArgs),
}

/// Options of `torc cluster init`.
#[derive(Args, Debug)]
pub struct InitArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name that the nodes were started with
    #[arg(long, env = "TORC_CLUSTER", value_name = "NAME", default_value = "torc")]
    name: String,
    /// Number of shards
    #[arg(long, value_name = "N", default_value_t = 3)]
    shards: u16,
    /// Replicas of each shard beside its primary
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: u8,
    /// Nodes that vote in the control plane: an odd number [default: 3, or 1 with fewer nodes]
    #[arg(long, value_name = "N")]
    voters: Option<usize>,
    /// How long a primary may serve after its last renewal was sent, in milliseconds; all other times follow it
    #[arg(long, value_name = "MS", default_value_t = 500)]
    lease_ms: u64,
    /// Members of the in-sync set below which in-sync writes are refused
    #[arg(long, value_name = "N", default_value_t = 2)]
    min_in_sync: u8,
}

/// Options of `torc cluster failover`.
#[derive(Args, Debug)]
pub struct FailoverArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The shard
    shard: u16,
    /// Node id of the new primary [default: any that is in sync]
    #[arg(long, value_name = "NODE")]
    to: Option<u64>,
}

/// Options of `torc cluster failover-unclean`.
#[derive(Args, Debug)]
pub struct UncleanArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The shard
    shard: u16,
    /// Node id of the new primary
    #[arg(long, value_name = "NODE")]
    to: u64,
    /// Says that you know that writes are lost
    #[arg(long)]
    lose_writes: bool,
}

/// Options of `torc cluster drain`.
#[derive(Args, Debug)]
pub struct DrainArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Node id, as in `torc status --json`, or its RESP address
    node: String,
}

/// Options of `torc cluster policy`.
#[derive(Args, Debug)]
pub struct PolicyArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The prefix of the keys [default: list all policies, one JSON object a line]
    prefix: Option<String>,
    /// The policy as JSON: {"ack": "in-sync", "read": "strong"}, {"read_from": "replica", "max_staleness_ms": 500}, …;
    /// --remove takes it away
    #[arg(long, value_name = "JSON", requires = "prefix")]
    set: Option<String>,
    /// Removes the policy
    #[arg(long, requires = "prefix", conflicts_with = "set")]
    remove: bool,
}

/// Runs a subcommand.
pub fn run(command: ClusterCommand) -> Result<(), Box<dyn Error>> {
    block_on(async move {
        match command {
            ClusterCommand::Init(args) => init(args).await,
            ClusterCommand::Failover(args) => failover(args).await,
            ClusterCommand::FailoverUnclean(args) => unclean(args).await,
            ClusterCommand::Drain(args) => drain(args).await,
            ClusterCommand::Policy(args) => policy(args).await,
        }
    })
}

async fn init(args: InitArgs) -> Result<(), Box<dyn Error>> {
    let (tool, ..) = args.cluster.tool()?;
    let settings = Settings::default().scaled_to_lease(args.lease_ms);
    let settings = Settings { min_in_sync: args.min_in_sync, ..settings };
    settings.check()?;
    // A deployment runs this at each start: once there is a cluster, not even all nodes need to be up.
    if let Ok(status) = tool.status().await
        && status.map.is_initialised()
        && status.map.cluster_name == args.name
    {
        let map = status.map;
        println!("cluster {} is there already: {} shards, epoch {}", args.name, map.shards.len(), map.epoch);
        return Ok(());
    }
    let plan = ClusterPlan {
        name: args.name,
        shards: args.shards,
        replicas: args.replicas,
        settings,
        voters: args.voters,
    };
    let map = tool.init(&plan).await?;
    println!(
        "cluster {}: {} shards on {} nodes, epoch {}. `torc status` shows it.",
        map.cluster_name,
        map.shards.len(),
        map.nodes.len(),
        map.epoch
    );
    Ok(())
}

async fn ask(tool: &Tool, request: &AdminRequest) -> Result<(), Box<dyn Error>> {
    match tool.ask_leader(request).await? {
        AdminReply::Done => Ok(()),
        AdminReply::Proposed { reply: MapReply::Refused(refusal) } => Err(refusal.to_string().into()),
        AdminReply::Proposed { .. } => Ok(()),
        AdminReply::Failed { error } => Err(error.into()),
        other => Err(format!("unexpected answer: {other:?}").into()),
    }
}

/// Asks for a primary of a higher term than `old_term`, and watches until the shard has it. The wish is said again now and
/// then: a control plane whose leader changes forgets what it was not in time to begin.
async fn replace(
    tool: &Tool,
    shard: ShardId,
    old_term: Term,
    request: &AdminRequest,
) -> Result<(), Box<dyn Error>> {
    ask(tool, request).await?;
    let began_ms = boottime_ms();
    let (until_ms, mut again_ms) = (began_ms + WATCH_MS, began_ms + AGAIN_MS);
    loop {
        if boottime_ms() >= again_ms {
            // No leader, or a refusal that the first time did not get: what the watch sees decides.
            let _ = ask(tool, request).await;
            again_ms = boottime_ms() + AGAIN_MS;
        }
        if let Ok(status) = tool.status().await
            && let Some(state) = status.map.shard(shard)
            && state.term > old_term
            && let Some((node, _)) = status.map.primary_of(shard)
        {
            println!("shard {}: {} is primary in term {}", shard.0, node.address(), state.term);
            return Ok(());
        }
        if boottime_ms() > until_ms {
            return Err(format!(
                "shard {} has no new primary after {} s: `torc status` says who is in sync, and the log of \
                 the control plane's leader why nothing happened",
                shard.0,
                WATCH_MS / 1_000
            )
            .into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn failover(args: FailoverArgs) -> Result<(), Box<dyn Error>> {
    let (tool, ..) = args.cluster.tool()?;
    move_primary(&tool, ShardId(args.shard), args.to.map(NodeId)).await
}

async fn move_primary(tool: &Tool, shard: ShardId, to: Option<NodeId>) -> Result<(), Box<dyn Error>> {
    let status = tool.status().await?;
    let state = status.map.shard(shard).ok_or_else(|| format!("there is no shard {}", shard.0))?;
    let heir = |m: &Member| state.primary != Some(*m) && to.is_none_or(|to| to == m.node);
    if !state.in_sync.iter().any(heir) {
        return Err(format!(
            "no other in-sync node of shard {}{} could take over without a loss",
            shard.0,
            to.map_or_else(String::new, |to| format!(" is node {to}: nobody"))
        )
        .into());
    }
    let request = AdminRequest::Failover { shard, to, term: Some(state.term) };
    replace(tool, shard, state.term, &request).await
}

async fn unclean(args: UncleanArgs) -> Result<(), Box<dyn Error>> {
    if !args.lose_writes {
        return Err(
            "an unclean failover loses acknowledged writes: say --lose-writes if that is what you want"
                .into(),
        );
    }
    let (tool, ..) = args.cluster.tool()?;
    let shard = ShardId(args.shard);
    let status = tool.status().await?;
    let state = status.map.shard(shard).ok_or_else(|| format!("there is no shard {}", shard.0))?;
    let node = status.map.node(NodeId(args.to)).ok_or_else(|| format!("there is no node {}", args.to))?;
    if !state.members.contains(&node.id) {
        return Err(
            format!("node {} is none of shard {}: `torc status` lists its nodes", args.to, shard.0).into()
        );
    }
    let request = AdminRequest::Unclean { shard, to: node.member(), term: Some(state.term) };
    replace(&tool, shard, state.term, &request).await
}

async fn drain(args: DrainArgs) -> Result<(), Box<dyn Error>> {
    let (tool, ..) = args.cluster.tool()?;
    let status = tool.status().await?;
    let node = status
        .map
        .nodes
        .values()
        .find(|n| n.id.0.to_string() == args.node || n.address() == args.node)
        .ok_or_else(|| format!("there is no node {}", args.node))?;
    let mut moved = 0;
    for shard in status.map.shards.values() {
        if shard.primary == Some(node.member()) {
            move_primary(&tool, shard.id, None).await?;
            moved += 1;
        }
    }
    println!("node {} leads no shard now ({moved} moved): it can be stopped", node.id);
    Ok(())
}

async fn policy(args: PolicyArgs) -> Result<(), Box<dyn Error>> {
    let (tool, ..) = args.cluster.tool()?;
    let Some(prefix) = args.prefix else {
        for policy in &tool.status().await?.map.policies {
            println!("{}", serde_json::to_string(policy)?);
        }
        return Ok(());
    };
    let command = match args.set {
        None if args.remove => MapCommand::RemovePolicy { prefix },
        None => return Err("say what to do with the prefix: --set JSON or --remove".into()),
        Some(json) => {
            let mut fields: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&json).map_err(|e| format!("--set is no JSON object: {e}"))?;
            fields.insert("prefix".to_owned(), prefix.into());
            let policy: Policy = serde_json::from_value(fields.into()).map_err(|e| format!("--set: {e}"))?;
            MapCommand::SetPolicy { policy }
        }
    };
    ask(&tool, &AdminRequest::Propose { command: Box::new(command) }).await?;
    println!("done");
    Ok(())
}
