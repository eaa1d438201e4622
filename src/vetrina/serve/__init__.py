"""HTTP service: answers requests, stores events and products, follows the champion pointers. Needs no training library.

The way of a request for ranked products. It has four shapes: body, ``Request``, ``Answer``, response.

1. ``http.protocol`` and ``http.request_gate`` bound the connection, check Host and content type, and name the request.
2. ``routes.ranking`` parses the body (``scenarios.NAME.schema``), which becomes a ``Request`` under pseudonyms.
3. ``answers.rank.rank`` goes through the steps that follow; ``service.Service`` holds what they share.
4. ``live_state.Champions.get`` says which version serves, ``live_state.CandidateClients.get`` which one is tested beside it.
5. ``recent_events.RecentEventsReader.read`` reads the user's events since that version was trained (the first wait).
6. ``experiments.arms.assign_arm`` and ``experiments.exploration`` decide who answers, and whether the order is randomised.
7. ``experiments.arms.answer_arm`` calls ``scenarios.NAME.online`` of that version; a candidate in its thread (the second wait).
8. ``core.exposures.Exposure`` is derived once from request and answer (``answers.exposed``).
9. ``Service.record`` gives it to ``store.event_log.EventLog.log_exposure``, which waits for nothing, and to ``metrics``.
10. ``routes.ranking`` builds the response from the answer and the exposure.

The way of an event: ``routes.events.events`` takes the batch, ``event_decoding.decode_events`` parses each event and replaces
ids by pseudonyms, ``store.event_log.EventLog.add`` queues them, its thread writes and commits all that wait together, and the
route answers once they are on disk. From then on ``live_state.StoredEvents`` finds them as recent events of their user,
``spend_ledger`` charges clicks on ads, and ingest takes them into the lake.

Each worker follows the store in threads of its own: ``live_state.StoreFollower``.
"""
