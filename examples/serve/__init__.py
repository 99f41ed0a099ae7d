"""A service that shows what a policy draws, and logs it so that the next policy can be learned.

    python -m serve FOLDER LOG      (in examples/; `model.save_model` makes the folder)

`model` has what is served, `draws` what happens to a batch of requests, `app` the HTTP, `records`
the append-only log, `feedback` what makes a `BanditFeedback` of it, `process` a service for tests,
benchmarks and `loop`, which learns, serves, logs and learns again.
"""
