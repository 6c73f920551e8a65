"""Weights & Biases: a mirror of the run folders, which stay the truth.

    client.py    the wandb package: found, quiet, and deaf to variables that rename runs
    mode.py      online, offline or off: decided before anything is sent, and said once
    identity.py  what a run is filed under: its id, project, studies and labels
    points.py    metrics.csv as rows of W&B, and back
    session.py   one W&B run: opened, filled, closed, all within bounded time
    writer.py    the thread that owns a session while a run is trained
    mirror.py    the Lightning callback that follows a run's files and feeds that thread
    media.py     histograms, confusion matrix, filters, misclassified images
    push.py      run folders to W&B
    pull.py      W&B to run folders
    report.py    a study's W&B report
    disputes.py  its table of test images on which norms differ
    publish.py   saves it
    commands.py  `normbench wandb …`

`wandb` itself is imported only where something is sent.
"""
