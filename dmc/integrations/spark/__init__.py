"""`dmc.Recommender` in Spark, with the parameters and conventions of `pyspark.ml.recommendation.ALS`."""

try:
    import pyspark as _pyspark
except ImportError:
    raise ImportError("pyspark is not installed; run: pip install 'dmc[spark]' (Spark also needs Java 17)") from None

if not hasattr(_pyspark.sql.functions, "arrow_udf"):
    raise ImportError(f"pyspark is {_pyspark.__version__}, and 4.1 or later is needed; run: pip install 'dmc[spark]'")

from dmc.integrations.spark.estimator import Recommender
from dmc.integrations.spark.model import RecommenderModel

__all__ = ["Recommender", "RecommenderModel"]
