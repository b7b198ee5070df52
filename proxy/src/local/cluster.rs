//! CLUSTER and its neighbours: towards clients the proxy is one node that owns every slot, so that cluster clients
//! come to it with everything.

use torc_protocol::command::ClusterCommand;
use torc_protocol::resp::ReplyWriter;
use torc_protocol::slot::{SLOTS, key_slot};

use crate::call::Call;
use crate::dispatch;
use crate::downstream::resp::Step;

pub(super) fn answer(call: &mut Call<'_>, command: ClusterCommand) -> Step {
    let me = Myself::new(call);
    match command {
        ClusterCommand::Asking => call.reply(|reply| reply.ok()),
        ClusterCommand::Readonly | ClusterCommand::Readwrite => {
            call.session.readonly = command == ClusterCommand::Readonly;
            call.reply(|reply| reply.ok())
        }
        ClusterCommand::Cluster | ClusterCommand::ClusterHelp => {
            call.reply(|reply| torc_protocol::command::help(command.into(), reply))
        }
        ClusterCommand::ClusterMyid => call.reply(|reply| reply.bulk(me.id.as_bytes())),
        ClusterCommand::ClusterKeyslot => {
            let slot = key_slot(call.request.arg(2));
            call.reply(|reply| reply.integer(i64::from(slot)))
        }
        ClusterCommand::ClusterInfo => {
            let table = &call.routes.table;
            let state = if table.is_whole() { "ok" } else { "fail" };
            let epoch = table.epoch;
            let text = format!(
                "cluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{SLOTS}\r\n\
                 cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:1\r\n\
                 cluster_current_epoch:{epoch}\r\ncluster_my_epoch:{epoch}\r\n\
                 cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
                 total_cluster_links_buffer_limit_exceeded:0\r\n"
            );
            call.reply(|reply| reply.verbatim(b"txt", text.as_bytes()))
        }
        ClusterCommand::ClusterSlots => call.reply(|reply| me.slots(reply)),
        ClusterCommand::ClusterShards => call.reply(|reply| me.shards(reply)),
        ClusterCommand::ClusterNodes => {
            let Myself { id, host, port } = &me;
            let epoch = call.routes.table.epoch;
            let text =
                format!("{id} {host}:{port}@{port} myself,master - 0 0 {epoch} connected 0-{}\n", SLOTS - 1);
            call.reply(|reply| reply.verbatim(b"txt", text.as_bytes()))
        }
        ClusterCommand::ClusterLinks => call.reply(|reply| reply.array(0)),
        ClusterCommand::ClusterCountkeysinslot | ClusterCommand::ClusterGetkeysinslot => {
            dispatch::by_table(call)
        }
    }
}

/// The proxy as a node.
struct Myself {
    id: String,
    host: String,
    port: u16,
}

impl Myself {
    fn new(call: &Call<'_>) -> Myself {
        let shared = &call.worker.shared;
        let own = &call.client.info.local;
        // The address that the client itself uses is one that it can reach.
        let settings = shared.settings.load();
        let host = match &*settings.advertise {
            "" => own.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host).trim_matches(['[', ']']),
            host => host,
        };
        let host = if host.starts_with('/') { "127.0.0.1" } else { host };
        Myself { id: shared.run_id.clone(), host: host.to_owned(), port: shared.port() }
    }

    fn slots(&self, reply: &mut ReplyWriter<'_>) {
        reply.array(1);
        reply.array(3);
        reply.integer(0);
        reply.integer(i64::from(SLOTS - 1));
        reply.array(4);
        reply.bulk(self.host.as_bytes());
        reply.integer(i64::from(self.port));
        reply.bulk(self.id.as_bytes());
        reply.array(0);
    }

    fn shards(&self, reply: &mut ReplyWriter<'_>) {
        let text = |reply: &mut ReplyWriter<'_>, name: &str, value: &str| {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        };
        reply.array(1);
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(2);
        reply.integer(0);
        reply.integer(i64::from(SLOTS - 1));
        reply.bulk(b"nodes");
        reply.array(1);
        reply.map(7);
        text(reply, "id", &self.id);
        reply.bulk(b"port");
        reply.integer(i64::from(self.port));
        text(reply, "ip", &self.host);
        text(reply, "endpoint", &self.host);
        text(reply, "role", "master");
        reply.bulk(b"replication-offset");
        reply.integer(0);
        text(reply, "health", "online");
    }
}
