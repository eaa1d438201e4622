"""Commands that query the released models: one request on the command line, or a file of requests.

The commands themselves are those of the scenarios (``scenarios/NAME/command.py``); here is how they get and print answers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vetrina.cli import formatting
from vetrina.cli.context import CliContext
from vetrina.core.errors import BadInput
from vetrina.scenarios.commands import FileOfRequests, find_commands, require_value
from vetrina.serve.local.client import query_service
from vetrina.serve.local.query import LocalItem, LocalQuery

if TYPE_CHECKING:
    from vetrina.serve.recipients import RecipientList


class AskContext(CliContext):
    """``scenarios.commands.CommandContext``: answers of the running service, else of the bundles."""

    def rank(self, scenario: str, **parameters: Any) -> None:
        """Print the items of one ranked answer.

        Args:
            scenario: the scenario that answers.
            parameters: fields of ``LocalQuery``.
        """
        query = LocalQuery(scenario, **parameters)
        shop_dir = self.shop_dir.resolve()
        items = query_service(shop_dir, query)
        if items is None:
            from vetrina.serve.released_models import answer_from_bundle

            items = answer_from_bundle(shop_dir, query)
        self._print_items(items)

    def rank_file(
        self,
        scenario: str,
        requests: FileOfRequests,
        file: Path,
        out: Path | None,
        engine: str | None = None,
        **parameters: Any,
    ) -> None:
        """Answer a file of requests into the file of ``--out``, and print how many rows were written.

        Args:
            scenario: the scenario that answers.
            requests: how a row becomes a request.
            file: file of requests.
            out: output file.
            engine: ``local`` or ``ray``; None for that of the settings.
            parameters: further parameters of every request.
        """
        from vetrina.api.batch import rank_file

        output_file = require_value(out, "--out FILE")
        shop = self.open_shop()
        n_rows = rank_file(shop, scenario, requests, file, output_file, shop.shop_context.progress, parameters, engine)
        self._print_output_file(n_rows, out)

    def select_audience(
        self,
        scenario: str,
        product_id: str | None,
        *,
        size: int,
        seed_users: Path | None,
        segment: str,
        channel: str,
        mark_contacted: bool,
        out: str | None,
    ) -> None:
        """Print the users of one audience, or deliver them and print where.

        Args:
            scenario: the scenario that answers.
            product_id: product that the audience is for.
            size: number of users.
            seed_users: file of users that the audience is to be similar to.
            segment: segment that it is taken from; empty for none.
            channel: channel that it is meant for.
            mark_contacted: whether the users are recorded as contacted.
            out: output file or address of a webhook; None to print the users.
        """
        from vetrina.api import batch

        shop = self.open_shop()
        seed_user_ids = batch.read_user_ids(seed_users) if seed_users else ()
        selected = shop.audience(
            product_id, scenario=scenario, size=size, like=seed_user_ids, segment=segment, channel=channel
        )
        delivery = None
        if out is not None:
            delivery = batch.deliver_audience(shop, channel, selected, product_id, out)
        if mark_contacted:  # after the delivery, which raises where it reaches nobody
            shop.mark_contacted(selected, product_id, channel)
        if delivery is not None:
            self.print_row(delivery, formatting.format_delivery)
            return
        self._print_recipients(selected)

    def select_audiences(self, scenario: str, products: Path, out: str | None, size: int) -> None:
        """Write one audience for each product of a file.

        Args:
            scenario: the scenario that answers.
            products: file of products.
            out: output file.
            size: users of each audience.
        """
        from vetrina.api.batch import audience_file

        shop = self.open_shop()
        output_file = Path(require_value(out, "--out FILE"))
        n_rows = audience_file(shop, products, output_file, shop.shop_context.progress, size, scenario)
        self._print_output_file(n_rows, out)

    def predict(self, scenario: str, features: str | None) -> None:
        """Print the prediction for a row, given as JSON."""
        shop = self.open_shop()
        text = require_value(features, "FEATURES or --table FILE")
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadInput(text, f"is no JSON ({error})", "write '[1, 2, \"red\"]'") from None
        self.print_row(shop.predict([row], scenario)[0], formatting.format_prediction)

    def predict_file(self, scenario: str, table: Path, out: Path | None) -> None:
        """Write one prediction for each row of a file.

        Args:
            scenario: the scenario that answers.
            table: file of rows.
            out: output file.
        """
        from vetrina.api.batch import predict_file

        shop = self.open_shop()
        output_file = require_value(out, "--out FILE")
        n_rows = predict_file(shop, table, output_file, shop.shop_context.progress, scenario)
        self._print_output_file(n_rows, out)

    def _print_items(self, items: Sequence[LocalItem]) -> None:
        rows = []
        for rank, item in enumerate(items, start=1):
            rows.append(
                {
                    "rank": rank,
                    "product_id": item.product_id,
                    "title": item.title,
                    "score": round(item.score, 4),
                    "why": item.reasons[0] if item.reasons else "",
                }
            )
        self.print_rows(rows, formatting.format_ranked_product)

    def _print_recipients(self, selected: "RecipientList") -> None:
        rows = []
        for rank, recipient in enumerate(selected.recipients, start=1):
            rows.append(
                {
                    "rank": rank,
                    "user_id": recipient.user_id,
                    "score": recipient.score,
                    "why": recipient.reason,
                }
            )
        self.print_rows(rows, formatting.format_recipient)

    def _print_output_file(self, n_rows: int, out: Path | str | None) -> None:
        self.print_row({"rows": n_rows, "out": str(out)}, formatting.format_output_file)


COMMANDS = find_commands()
