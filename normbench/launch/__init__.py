"""Where runs run.

launcher.py     what every launcher takes: tasks and a listener; the registry of launchers
local.py        the launcher for this machine
pool.py         its warm worker processes
worker.py       the life of one of them
elsewhere.py    runs that another process trains
resources.py    cores and GPUs, dealt out by what runs ask for
single.py       one run from its claim to its result
ranks.py        one run on as many processes as it asks for
rendezvous.py   how these find each other
ends.py         how processes end, in words
orphan.py       no process outlives the command that started it
progress.py     what a running study shows
"""

from normbench.launch.launcher import LAUNCHERS, Event, Launcher, Listener, Task, launcher, task_of
from normbench.launch.ranks import execute
from normbench.launch.single import train_run

__all__ = ["LAUNCHERS", "Event", "Launcher", "Listener", "Task", "execute", "launcher", "task_of", "train_run"]
