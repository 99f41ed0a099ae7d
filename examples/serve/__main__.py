"""Serve a folder that `model.save_model` wrote, on this machine alone.

python -m serve FOLDER LOG [--port 8000] [--seconds N]
"""

import argparse
import os
import socket
import sys
import threading

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are imported

import uvicorn

from .app import make_app
from .model import load_model
from .records import Records


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m serve", description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="what save_model wrote")
    parser.add_argument("log", help="file that what is shown is appended to")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--seconds", type=float, help="end by itself after so long")
    args = parser.parse_args()
    try:
        app = make_app(load_model(args.folder), Records(args.log))
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    # with its protocol named, asyncio sends answers at once; else each waits for the other side
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(("127.0.0.1", args.port))
        if args.seconds is not None:
            limit = threading.Timer(args.seconds, lambda: setattr(server, "should_exit", True))
            limit.daemon = True
            limit.start()
        print(f"http://127.0.0.1:{own.getsockname()[1]}", flush=True)
        server.run(sockets=[own])
    return 0


if __name__ == "__main__":
    sys.exit(main())
