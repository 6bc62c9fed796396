"""Programs that runs are watched in: what each is told of a training, and how it is fed."""
