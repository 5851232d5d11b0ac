"""Answers of the Responses API that outlive their request: `store`, `previous_response_id`, `background`.

    shelf       what is kept of an answer, and where: here whole, or there (at its provider) and here only whose it is
    keeping     one request: what it goes on from, where it can go, what is kept of its answer
    recorder    the answer on its way to the caller, read along, and held until it is kept
    jobs        answers that are made in the background
    service     the paths: POST, GET, DELETE, cancel, input_items, compact

An answer is kept *there* when the provider keeps it itself and has had the request verbatim; everything else is kept *here*.
What began here goes on here, with any provider: its conversation is sent whole, and the provider is told to keep nothing. What
began there can only go on there.
"""
