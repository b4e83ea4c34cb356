"""An RTSP server by GStreamer, for the system's Python: ``/usr/bin/python3 rtsp_server.py``.

It serves a moving ball as rtsp://127.0.0.1:PORT/ball, VP8 at 25 frames a second, and prints PORT.
With USER and PASSWORD as arguments it asks for them.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions come first

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball"
    " ! video/x-raw,width=160,height=120,framerate=25/1"
    " ! vp8enc deadline=1 cpu-used=8 keyframe-max-dist=10 ! rtpvp8pay name=pay0 pt=96 )"
)


def main(port: str = "0", *login: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    if login:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        basic = GstRtspServer.RTSPAuth.make_basic(*login)
        auth.add_basic(basic, token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/ball", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)  # noqa: T201 - who started it reads it
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
