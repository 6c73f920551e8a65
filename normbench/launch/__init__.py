"""Where runs run.

launcher.py     what every launcher takes: tasks and a listener; the registry of launchers
known.py        the launchers that there are
options.py      which one, and with which options
needs.py        packages that one of them alone needs
study.py        what is left of a study, and its training
local.py        the launcher for this machine
slurm.py        the one for Slurm
job.py          what a job of Slurm does
ray.py          the one for Ray
futures.py      runs on any executor; Ray's launcher stands on it
pool.py         its warm worker processes
worker.py       the life of one of them
elsewhere.py    runs that another process trains
resources.py    cores and GPUs, dealt out by what runs ask for
single.py       one run from its claim to its result
ranks.py        one run on as many processes as it asks for
lean.py         what is imported before a training
rendezvous.py   how these find each other
ends.py         how processes end, in words
orphan.py       no process outlives the command that started it
progress.py     what a running study shows
"""

from normbench.launch.launcher import LAUNCHERS, Event, Launcher, Listener, Task, launcher, task_of
from normbench.launch.ranks import execute
from normbench.launch.single import train_run

__all__ = ["LAUNCHERS", "Event", "Launcher", "Listener", "Task", "execute", "launcher", "task_of", "train_run"]
