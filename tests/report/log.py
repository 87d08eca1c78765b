#!/usr/bin/env python3
"""Prints an audit log to draw a page of: a small run, with hostile names in it."""
import json

seq = 0


def event(ms, op, path, decision="allow", result="ok", **more):
    global seq
    line = {"v": 1, "seq": seq, "ns": int(ms * 1e6), "op": op, "path": path, "held": 0,
            "wanted": ["stat"], "decision": decision, **more, "result": result}
    seq += 1
    print(json.dumps(line))


print(json.dumps({"v": 1, "palisade": "0.1.0", "started": "2026-11-23T12:00:00Z",
                  "guest": "agent.wasm", "policy": "policy.toml"}))
rule = lambda line: {"rule": line, "file": "policy.toml", "line": line}
for n in range(160):
    at, name = n * 4.7, f"/data/in/part-{n % 23:02}.csv"
    event(at, "stat", name, **rule(4))
    event(at + 1, "open-read", name, **rule(4))
    event(at + 2, "read", name, bytes=4096 * (n % 7 + 1), **rule(4))
    if n % 3 == 0:
        out = f"/data/out/2026/11/summary-{n % 9}.txt"
        event(at + 2.5, "create", out, **rule(8))
        event(at + 3, "write", out, bytes=1337 * n, **rule(8))
for n in range(14):
    event(250 + n * 6, "open-read", "/data/in/.env", "deny", "acces", missing=["read-bytes"], **rule(12))
event(420, "open-read", "/data/.git/config", "hide", "noent", missing=["lookup", "read-bytes"], **rule(15))
event(431, "open-dir", "/home", "deny", "acces", missing=["lookup", "list"])
event(640, "rename", "/data/in/part-00.csv", "deny", "xdev", to="/data/out/x.csv", widens=True,
      missing=["write-bytes"])
for n, name in enumerate(['</script><script>document.title="escaped"</script>', '"><img src=x onerror=alert(1)>',
                          "a\u2028b", "tab\tand\nline", "__proto__", "${x}`"]):
    event(500 + n * 20, "stat", "/data/odd/" + name, "deny" if n == 0 else "allow",
          "acces" if n == 0 else "ok", **({"missing": ["stat"]} if n == 0 else {}))
