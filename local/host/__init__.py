"""A Functions host for development: HTTP, timer and storage-queue triggers on Microsoft's own Python worker library.

Indexing, argument conversion and invocation are done by ``azure-functions-runtime``, the library that runs the app in
Azure. Everything around it (routes, keys, timers, queue polling) is our own and follows the public documentation.

What it is not: Microsoft's host. Parity with ``func start`` or Azure is untested. There is one host and one app
process: no scale-out, no lease between hosts (two hosts fire a timer twice), no other trigger kinds, no retry
policies, no key management, no Application Insights. Trigger queues are created when missing, which Azure does not do.
The clock that can be moved for tests rules the timers only: the app and the queues see the machine's time.
"""
