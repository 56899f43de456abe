"""The attributes of a fitted recommender, each read from what is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar, overload

from dmc.recommend import queries
from dmc.recommend.state import State

T = TypeVar("T")


class _Fitted(Generic[T]):
    """An attribute that is read from what is served."""

    def __init__(self, read: Callable[[State], T], doc: str) -> None:
        self._read, self.__doc__ = read, doc

    @overload
    def __get__(self, model: None, owner: type) -> _Fitted[T]: ...

    @overload
    def __get__(self, model: FittedAttributes, owner: type) -> T: ...

    def __get__(self, model: FittedAttributes | None, owner: type) -> T | _Fitted[T]:
        return self if model is None else self._read(model._served())

    def __set__(self, model: FittedAttributes, value: Any) -> NoReturn:
        raise AttributeError("what was fitted cannot be set; fit again")


class FittedAttributes:
    """What `dmc.Recommender` knows of its fit; its docstring describes the attributes at length."""

    columns_ = _Fitted(lambda state: state.columns, "Names of the columns of users, items and ratings.")
    users_ = _Fitted(lambda state: state.users, "The known ids of users.")
    items_ = _Fitted(lambda state: state.items, "The known ids of items.")
    n_observed_ = _Fitted(lambda state: state.n_observed, "Number of fitted ratings, after repeated ones are merged.")
    observations_ = _Fitted(lambda state: state.fitted().observations, "The fitted ratings as a (users, items) matrix.")
    mean_ = _Fitted(lambda state: state.mean, "The mean rating.")
    range_ = _Fitted(lambda state: state.range, "The lowest and the highest rating.")
    factors_ = _Fitted(lambda state: state.factors, "Two-factor model of the ratings minus `mean_`.")
    ranking_ = _Fitted(lambda state: queries.factors(state, "ranking"), "The scores that `recommend` sorts by.")
    user_factors = _Fitted(lambda state: state.left[:-1], "Vectors of the users, for products with `item_factors`.")
    item_factors = _Fitted(lambda state: state.right[:-1], "Vectors of the items, for products with `user_factors`.")
    cold_start_factors_ = _Fitted(
        lambda state: (state.left[-1], state.right[-1]), "Vectors of a user, and of an item, that is not known."
    )
    seen_ = _Fitted(lambda state: state.seen, "The items that each user has rated.")
    rank_ = _Fitted(lambda state: state.rank, "Number of directions of the interactions that stand out of the noise.")
    noise_ = _Fitted(lambda state: state.noise, "Estimated standard deviation of a rating around its prediction.")
    status_ = _Fitted(lambda state: state.fit_info.status, "How the fit ended; its text includes advice.")
    n_iter_ = _Fitted(lambda state: state.fit_info.n_iter, "Sweeps, or steps, of the (first) fit.")
    validation_rmse_ = _Fitted(
        lambda state: state.fit_info.validation_rmse,
        "Root mean squared error on the ratings that were held out; NaN if none were.",
    )
    history_ = _Fitted(
        lambda state: [dict(look) for look in state.fit_info.history], "One dict for each look at the fit."
    )

    # All that answers, in one object: replaced in one assignment, and taken once by each query.
    _state: State | None = None

    def _served(self) -> State:
        state = self._state
        if state is None:
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this Recommender is not fitted yet; call fit with a table of ratings first")
        return state
