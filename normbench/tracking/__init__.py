"""Weights & Biases: a mirror of the run folders, which stay the truth.

    mode.py      online, offline or off: decided before anything is sent, and said once
    points.py    metrics.csv as rows of W&B, and back
    session.py   one W&B run: opened, filled, closed, all within bounded time
    mirror.py    the Lightning callback that follows a run's files and feeds a session from a thread
    media.py     histograms, confusion matrix, filters, misclassified digits
    push.py      run folders to W&B
    pull.py      W&B to run folders
    report.py    a study's W&B report
    commands.py  `normbench wandb …`

`wandb` itself is imported only where something is sent.
"""
