"""The forms of `REDIS_URL`: the readers of both languages take them as the service does."""

URLS = [
    "redis://localhost",
    "redis://me:p%40ss@10.0.0.1:7000/3",
    "unix:///run/valkey.sock?db=2",
    "redis+cluster://a,b:7001,[::1]:7002",
    "REDIS+Cluster://me:p%40ss@10.0.0.1:7000/0",
    "rediss+cluster://:secret@a:7000,b?ssl_cert_reqs=none",
    "redis+sentinel://a,b:7001,[::1]:7002/primary",
    "redis+sentinel://me:p%40ss@a/the%20primary/5",
    "redis+sentinel://:secret@a:1,b/N?sentinel_username=s&sentinel_password=p%23",
    "redis+sentinel://a/N?sentinel_tls=yes",
    "rediss+sentinel://a/N/1?ssl_cert_reqs=none",
    "rediss+sentinel://a/N?sentinel_tls=no",
]
