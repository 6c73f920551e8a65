#!/usr/bin/env bash
# A Slurm of two virtual nodes on this machine, for tests: loopback only, no systemd, state in one folder.
#   slurm.sh start FOLDER [NODES]   prints the configuration's path; then export SLURM_CONF
#   slurm.sh stop FOLDER            ends every daemon by its own process id
# Needs root and Debian's slurm-wlm and munge. Accounting is left out: normbench does without it.
set -euo pipefail
command=$1 state=$2 nodes=${3:-2} host=$(hostname -s)
export SLURM_CONF=$state/slurm.conf

configuration() {
  cat <<CONF
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16917
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$state/munge/run/socket,cred_expire=5
SlurmctldPidFile=$state/pid/slurmctld
SlurmdPidFile=$state/pid/slurmd-%n
SlurmctldLogFile=$state/log/slurmctld
SlurmdLogFile=$state/log/slurmd-%n
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog=$state/prolog.sh
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=60
CONF
  for node in $(seq "$nodes"); do
    echo "NodeName=node$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((17100 + node)) CPUs=2 RealMemory=4000 State=UNKNOWN"
  done
  echo "PartitionName=low Nodes=node[1-$nodes] Default=YES MaxTime=INFINITE State=UP PriorityTier=1"
  echo "PartitionName=high Nodes=node[1-$nodes] MaxTime=INFINITE State=UP PriorityTier=10"
}

start() {
  mkdir -p "$state"/{controller,log,pid,munge/run}
  chmod 755 "$state" "$state/munge/run"
  chmod 711 "$state/munge" # the socket below it is for everybody
  for node in $(seq "$nodes"); do mkdir -p "$state/spool-node$node"; done
  [ -s "$state/munge/key" ] || head -c 128 /dev/urandom >"$state/munge/key"
  chmod 400 "$state/munge/key"
  munged --key-file="$state/munge/key" --socket="$state/munge/run/socket" --pid-file="$state/pid/munged" \
    --log-file="$state/munge/log" --seed-file="$state/munge/seed" --num-threads=2 --force
  # The nodes' names resolve nowhere, so node 0 of a run is found by an address.
  printf '#!/bin/sh\necho export MASTER_ADDR=127.0.0.1\necho export GLOO_SOCKET_IFNAME=lo\n' >"$state/prolog.sh"
  chmod 755 "$state/prolog.sh"
  configuration >"$state/slurm.conf"
  slurmctld -c
  for node in $(seq "$nodes"); do slurmd -N "node$node"; done
  until [ "$(sinfo --noheader --partition low --states idle --format %D 2>/dev/null)" = "$nodes" ] || [ $SECONDS -gt 120 ]; do
    sleep 0.25
  done
  [ "$(sinfo --noheader --partition low --states idle --format %D)" = "$nodes" ]
  echo "$SLURM_CONF"
}

stop() {
  scancel --user root 2>/dev/null || true
  for file in "$state"/pid/slurmd-* "$state/pid/slurmctld" "$state/pid/munged"; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 80); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$file"
  done
}

"$command"
